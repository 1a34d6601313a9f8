"""Translate and segment from Python: a path, a `Volume` or a nibabel image in, a volume out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from pydantic import ValidationError

from chiasm import files, models
from chiasm.errors import CaseError, UsageError, explain
from chiasm.head import head_mask
from chiasm.modality import modality_name
from chiasm.registry import DEFAULT_MODEL, DEFAULT_SEGMENTER, SCHEDULERS, SEGMENTERS, TRANSLATORS
from chiasm.volume import LabelVolume, Volume

if TYPE_CHECKING:
    from chiasm.segmenters import Segmenter
    from chiasm.translators import RunOptions, Translator

Image = str | Path | Volume | nib.spatialimages.SpatialImage


def as_volume(image: Image, *, modality: str | None = None, argument: str = "-i") -> Volume:
    """A `Volume` of a path, a `Volume` or a nibabel image; ``modality`` names what it is."""
    name = None if modality is None else modality_name(modality)
    if isinstance(image, Volume):
        return image if name is None else image.with_array(image.array, modality=name, units="")
    if isinstance(image, str | Path):
        return files.read(image, modality=name, argument=argument)
    array = np.asarray(image.dataobj)
    extra = array.shape[3:]
    if any(size != 1 for size in extra):
        problem = f"has shape {array.shape}"
        raise CaseError(explain(argument, "image", problem, "three axes, or one volume in 4D"))
    return Volume(array.reshape((*array.shape, 1)[:3]), image.affine, modality=name)


def as_mask(mask: Image | np.ndarray | None, volume: Volume) -> np.ndarray | None:
    """A bool array on the volume's grid, from a path, a volume, a nibabel image or an array."""
    if mask is None:
        return None
    if isinstance(mask, np.ndarray):
        array = mask
    else:
        found: Volume | LabelVolume
        if isinstance(mask, str | Path):
            found = files.read_labels(mask, argument="--mask")
        else:
            found = as_volume(mask, argument="--mask")
        if not found.same_grid(volume):
            name = mask if isinstance(mask, str | Path) else "image"
            problem = f"lies on another grid ({found!r})"
            raise CaseError(explain("--mask", name, problem, f"that of the image, {volume!r}"))
        array = found.array
    if array.shape != volume.shape or not array.any():
        problem = f"has shape {array.shape} and {int(np.count_nonzero(array))} voxels set"
        raise CaseError(explain("--mask", "", problem, f"shape {volume.shape}, some voxels set"))
    return array > 0


def load_translator(
    model: str | Path | None = None,
    method: str | None = None,
    to: str | None = None,
    **options: Any,
) -> Translator:
    """A translator, ready to be called for many volumes; reads configs alone.

    Parameters
    ----------
    model : str or Path, optional
        A shipped name or a folder; by default the shipped model that suits method and target.
    method : str, optional
        A registered translator; by default the one the model was trained for.
    to : str, optional
        The target modality; must be one that the model makes.
    **options
        Of `chiasm.translators.RunOptions`: steps, scheduler, guidance, start, edit_from, steering,
        detail, noise, planes, seed, samples, batch, device.

    Raises
    ------
    UsageError
        An unknown name, an illegal value, or a model that the method cannot run.
    """
    target = None if to is None else modality_name(to, "--to")
    kind = None if method is None else TRANSLATORS.load(method, "--method")
    chosen = _options(**options)
    loaded = models.load(model or _shipped_for(kind, target), kind="translator")
    if target is not None:
        loaded = loaded.towards(target)
    kind = kind or TRANSLATORS.load(loaded.config.method)
    return kind(loaded, chosen)


def _options(**options: Any) -> RunOptions:
    """The options of a run, all legal on this machine."""
    from chiasm.device import resolve_device
    from chiasm.translators import RunOptions

    if options.get("scheduler") is not None:
        SCHEDULERS.check(options["scheduler"], "--scheduler")
    try:
        chosen = RunOptions(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise UsageError(explain(name, first.get("input"), "is not legal", first["msg"])) from None
    resolve_device(chosen.device)
    return chosen


def _shipped_for(kind: type[Translator] | None, target: str | None) -> str:
    """The default model if it suits, else the first shipped one that does."""
    for name in sorted(models.shipped(), key=lambda one: one != DEFAULT_MODEL):
        config = models.peek(name)
        suits = kind is None or not kind.runs or config.get("method") in kind.runs
        made = (None, config.get("target"), *config.get("targets", {}))
        if config.get("kind") == "translator" and suits and target in made:
            return name
    return DEFAULT_MODEL


def load_segmenter(
    model: str | Path = DEFAULT_SEGMENTER, *, batch: int = 8, device: str = "auto"
) -> Segmenter:
    """A segmenter, ready to be called for many volumes; reads its config alone."""
    _options(batch=batch, device=device)
    loaded = models.load(model, kind="segmenter", argument="--segmenter")
    return SEGMENTERS.load(loaded.config.method)(loaded, batch=batch, device=device)


def check_pair(translator: Translator, segmenter: Segmenter) -> None:
    """A segmenter that does not know the modality the translator makes raises `UsageError`."""
    made, known = translator.model.config.target, segmenter.model.config.target
    if known != made and not segmenter.model.config.any_contrast:
        legal = f"a segmenter of {made}, which --model {translator.model.name} makes"
        raise UsageError(
            explain("--segmenter", segmenter.model.name, f"knows {known} alone", legal)
        )


def translate(
    image: Image,
    *,
    model: str | Path | None = None,
    method: str | None = None,
    to: str | None = None,
    mask: Image | np.ndarray | None = None,
    modality: str | None = None,
    **options: Any,
) -> Volume:
    """Translate one scan into the model's target modality.

    Parameters
    ----------
    image : path, Volume or nibabel image
        The source.
    model, method, to, **options
        As in `load_translator`.
    mask : path, Volume, nibabel image or array, optional
        Where the head (for brain models: the brain) is; found if not given.
    modality : str, optional
        Of the source, where its file name does not say.

    Returns
    -------
    Volume
        On the input's grid, in the target's units. With ``samples``, their mean; their deviation
        is that of ``load_translator(..., samples=N).translate(volume)``.

    Raises
    ------
    UsageError
        As in `load_translator`.
    CaseError
        The image cannot be read or processed.
    """
    chosen = load_translator(model, method, to, **options)
    volume = as_volume(image, modality=modality)
    return chosen.translate(volume, as_mask(mask, volume)).volume


def segment(
    image: Image,
    *,
    segmenter: str | Path = DEFAULT_SEGMENTER,
    mask: Image | np.ndarray | None = None,
    source: Image | None = None,
    batch: int = 8,
    device: str = "auto",
) -> LabelVolume:
    """Segment one scan of the modality that the segmenter knows.

    Parameters
    ----------
    image : path, Volume or nibabel image
    segmenter : str or Path
        A shipped name or a folder.
    mask : path, Volume, nibabel image or array, optional
        The head; found if not given.
    source : path, Volume or nibabel image, optional
        The scan that the image was translated from, for segmenters that look at both.
    batch, device
        As in `chiasm.translators.RunOptions`.

    Returns
    -------
    LabelVolume
        On the input's grid.

    Raises
    ------
    UsageError, CaseError
        As in `translate`.
    """
    chosen = load_segmenter(segmenter, batch=batch, device=device)
    volume = as_volume(image)
    beside = None if source is None else as_volume(source, argument="source")
    return chosen.segment(volume, as_mask(mask, volume), beside).labels


def run(
    image: Image,
    *,
    model: str | Path | None = None,
    segmenter: str | Path = DEFAULT_SEGMENTER,
    method: str | None = None,
    to: str | None = None,
    mask: Image | np.ndarray | None = None,
    modality: str | None = None,
    **options: Any,
) -> tuple[Volume, LabelVolume]:
    """Translate one scan, then segment it; arguments as in `translate` and `segment`."""
    chosen = load_translator(model, method, to, **options)
    with_device = {key: options[key] for key in ("batch", "device") if key in options}
    judge = load_segmenter(segmenter, **with_device)
    check_pair(chosen, judge)
    volume = as_volume(image, modality=modality)
    inside = as_mask(mask, volume)
    inside = head_mask(volume) if inside is None else inside
    translated = chosen.translate(volume, inside).volume
    return translated, judge.segment(translated, inside, volume).labels
