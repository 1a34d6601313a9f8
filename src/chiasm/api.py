"""Translate and segment from Python. Inputs are paths, volumes or nibabel images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.device import Resources
from chiasm.methods.load import load_translator
from chiasm.pipeline import EXTRACT, Image, Mask, Pipeline, Result
from chiasm.registry import DEFAULT_SEGMENTER
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter

__all__ = ["load_segmenter", "load_translator", "run", "segment", "translate"]


def translate(
    image: Image,
    *,
    model: str | Path | None = None,
    method: str | None = None,
    to: str | None = None,
    mask: Mask | None = None,
    extract: str | Path | Segmenter | None = None,
    modality: str | None = None,
    interpolate: bool = False,
    batch: int = 8,
    device: str = "auto",
    **options: Any,
) -> Volume:
    """Translate one scan into the model's target modality.

    Parameters
    ----------
    image : path, Volume or nibabel image
        The source scan. The path is that of a file, or of a folder or a zip archive with one DICOM
        series.
    model, method, to, **options
        As in `chiasm.methods.load.load_translator`.
    mask : path, volume, nibabel image or array, optional
        The foreground mask, as in `chiasm.Pipeline`.
    extract : str, Path or Segmenter, optional
        What finds the brain, in place of a mask. It is named as a segmenter is.
    modality : str, optional
        The modality of the source, if its file name does not tell it.
    interpolate : bool
        Whether a DICOM series with missing or uneven slices is interpolated to even distances.
    batch : int
        Number of slices in one network evaluation, at least 1.
    device : str
        auto, cpu, cuda, cuda:N or mps.

    Returns
    -------
    Volume
        The translation on the input's grid, in the units of the target. With ``samples`` it is
        their mean; `chiasm.Pipeline` also gives their standard deviation.

    Raises
    ------
    UsageError
        A name is unknown, the method does not have an option, or a value is illegal.
    CaseError
        The image cannot be read or processed.
    """
    resources = Resources(batch=batch, device=device)
    chosen = load_translator(model, method, to, resources=resources, **options)
    finder = _extractor(extract, resources)
    pipeline = Pipeline(chosen, extractor=finder, check_translatability=True)
    made = _warned(pipeline, image, mask, modality, interpolate).translation
    assert made is not None  # the pipeline has a translator
    return made


def segment(
    image: Image,
    *,
    segmenter: str | Path = DEFAULT_SEGMENTER,
    mask: Mask | None = None,
    extract: str | Path | Segmenter | None = None,
    modality: str | None = None,
    interpolate: bool = False,
    batch: int = 8,
    device: str = "auto",
) -> LabelVolume:
    """Segment one scan of the segmenter's modality.

    Parameters
    ----------
    image : path, Volume or nibabel image
    segmenter : str or Path
        A shipped name, a folder, a registered segmenter, or a segmenter of others: a command line,
        the file of a network, or a folder of nnU-Net.
    mask, extract, modality, interpolate, batch, device
        As in `translate`.

    Returns
    -------
    LabelVolume
        The label map on the input's grid.

    Raises
    ------
    UsageError, CaseError
        As in `translate`.
    """
    resources = Resources(batch=batch, device=device)
    chosen, finder = load_segmenter(segmenter, resources), _extractor(extract, resources)
    pipeline = Pipeline(segmenter=chosen, extractor=finder)
    made = _warned(pipeline, image, mask, modality, interpolate).labels
    assert made is not None  # the pipeline has a segmenter
    return made


def run(
    image: Image,
    *,
    model: str | Path | None = None,
    segmenter: str | Path = DEFAULT_SEGMENTER,
    method: str | None = None,
    to: str | None = None,
    mask: Mask | None = None,
    extract: str | Path | Segmenter | None = None,
    modality: str | None = None,
    interpolate: bool = False,
    batch: int = 8,
    device: str = "auto",
    **options: Any,
) -> tuple[Volume, LabelVolume]:
    """Translate one scan and segment the translation.

    The arguments are those of `translate` and `segment`.
    """
    resources = Resources(batch=batch, device=device)
    translator = load_translator(model, method, to, resources=resources, **options)
    pipeline = Pipeline(
        translator,
        load_segmenter(segmenter, resources),
        extractor=_extractor(extract, resources),
        check_translatability=True,
    )
    result = _warned(pipeline, image, mask, modality, interpolate)
    assert result.translation is not None  # the pipeline has both
    assert result.labels is not None
    return result.translation, result.labels


def _extractor(extract: str | Path | Segmenter | None, resources: Resources) -> Segmenter | None:
    return None if extract is None else load_segmenter(extract, resources, EXTRACT)


def _warned(
    pipeline: Pipeline, image: Image, mask: Mask | None, modality: str | None, interpolate: bool
) -> Result:
    """The result of a pipeline. What looks wrong becomes a Python warning."""
    result = pipeline(image, mask=mask, modality=modality, interpolate=interpolate)
    for sentence in result.warnings:
        warnings.warn(sentence, stacklevel=3)
    return result
