"""The digital brain: simulated subjects, scanned in several modalities, with true tissue labels.

`Settings` describe the scans, `subject` simulates one subject, and `write_dataset` writes a BIDS
folder of subjects.
"""

from chiasm.phantom.dataset import write_dataset
from chiasm.phantom.simulation import Settings, Subject, subject

__all__ = ["Settings", "Subject", "subject", "write_dataset"]
