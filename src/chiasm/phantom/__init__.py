"""The digital brain: people who never lived, scanned in any modality, with their true tissues.

`Settings` say what is wanted, `subject` makes one person, `write_dataset` a BIDS folder of them.
"""

from chiasm.phantom.dataset import write_dataset
from chiasm.phantom.person import Settings, Subject, subject

__all__ = ["Settings", "Subject", "subject", "write_dataset"]
