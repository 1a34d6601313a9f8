"""How well a translation or a segmentation agrees with the truth, and how sure that is."""

from chiasm.evaluation.evaluate import Evaluation, evaluate
from chiasm.evaluation.image import ImageScores, image_scores
from chiasm.evaluation.labels import LabelScore, LabelScores, label_scores
from chiasm.evaluation.lesions import LesionScores, lesion_scores
from chiasm.evaluation.statistics import (
    PairedTest,
    bootstrap_interval,
    gap_closure,
    gap_closure_interval,
    paired_test,
)
from chiasm.evaluation.translatability import Translatability, translatability
from chiasm.evaluation.uncertainty import Uncertainty, uncertainty

__all__ = [
    "Evaluation",
    "ImageScores",
    "LabelScore",
    "LabelScores",
    "LesionScores",
    "PairedTest",
    "Translatability",
    "Uncertainty",
    "bootstrap_interval",
    "evaluate",
    "gap_closure",
    "gap_closure_interval",
    "image_scores",
    "label_scores",
    "lesion_scores",
    "paired_test",
    "translatability",
    "uncertainty",
]
