"""Scores of a translation or a segmentation against the truth, with intervals and tests."""

from chiasm.scoring.evaluate import Evaluation, evaluate
from chiasm.scoring.image import ImageScores, image_scores
from chiasm.scoring.labels import LabelScore, LabelScores, label_scores
from chiasm.scoring.lesions import LesionScores, lesion_scores
from chiasm.scoring.statistics import (
    PairedTest,
    bootstrap_interval,
    gap_closure,
    gap_closure_interval,
    paired_test,
)
from chiasm.scoring.uncertainty import Uncertainty, uncertainty

__all__ = [
    "Evaluation",
    "ImageScores",
    "LabelScore",
    "LabelScores",
    "LesionScores",
    "PairedTest",
    "Uncertainty",
    "bootstrap_interval",
    "evaluate",
    "gap_closure",
    "gap_closure_interval",
    "image_scores",
    "label_scores",
    "lesion_scores",
    "paired_test",
    "uncertainty",
]
