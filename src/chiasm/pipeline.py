"""Process one scan: read it, check it, translate it, segment it, and record the steps.

The command line, the Python interface, the demonstration and the comparison all use this code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np

from chiasm import admission, files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.files.beside import foreground_beside
from chiasm.files.dicom.part import is_archive, is_dicom
from chiasm.files.dicom.read import only_series
from chiasm.files.dicom.read import read as read_series
from chiasm.files.dicom.series import Series
from chiasm.files.nifti import affine_in_mm
from chiasm.image.mask import checked_foreground, fitted_mask
from chiasm.image.modality import modality_name
from chiasm.image.orientation import Turn
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.cost import measure
from chiasm.methods.base import Translation, Translator
from chiasm.methods.method import flag
from chiasm.segmenters import Segmentation, Segmenter

EXTRACT = "--extract"

Image: TypeAlias = "str | Path | Series | Volume | nib.spatialimages.SpatialImage"
Mask: TypeAlias = "Image | LabelVolume | np.ndarray"


@dataclass(frozen=True)
class Result:
    """The results of one scan.

    Attributes
    ----------
    source : Volume
        The scan as it was read.
    foreground : bool array, shape of the source
        The foreground mask (the brain or the whole head), given or found.
    translation, deviation, expected_error : Volume or None
        The translated scan, the standard deviation if it was translated several times, and the
        absolute error that the model expects if it learned to.
    labels : LabelVolume or None
        The segmentation, if one was made.
    warnings : tuple of str
        Whole sentences that say what looks wrong.
    record : dict
        Geometry, intensities, settings, costs and warnings, in a form that JSON can hold.
    """

    source: Volume
    foreground: np.ndarray
    translation: Volume | None = None
    deviation: Volume | None = None
    expected_error: Volume | None = None
    labels: LabelVolume | None = None
    warnings: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> list[Volume | LabelVolume]:
        """All images that were made, in the order in which they are written."""
        made = (self.translation, self.labels, self.deviation, self.expected_error)
        return [image for image in made if image is not None]


class Pipeline:
    """Translate a scan, segment it, or translate it and segment the translation.

    Parameters
    ----------
    translator : Translator, optional
        Without a translator, the scan itself is segmented.
    segmenter : Segmenter, optional
        Without a segmenter, the scan is only translated.
    extractor : Segmenter, optional
        Finds the brain: all voxels that it labels above 0 are the foreground.
    check_translatability : bool
        Whether a few slices are translated first. The result then has a warning if the model
        probably cannot translate the scan well.

    Raises
    ------
    UsageError
        Neither a translator nor a segmenter is given, or the segmenter was made for a modality
        other than the target of the translator.
    """

    def __init__(
        self,
        translator: Translator | None = None,
        segmenter: Segmenter | None = None,
        *,
        extractor: Segmenter | None = None,
        check_translatability: bool = False,
    ) -> None:
        if translator is None and segmenter is None:
            raise UsageError(
                explain("pipeline", "", "does nothing", "a translator, a segmenter or both")
            )
        if translator is not None and segmenter is not None:
            _check_pair(translator, segmenter)
        self.translator = translator
        self.segmenter = segmenter
        self.extractor = extractor
        self.check_translatability = check_translatability

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that are written beside the translation (`Translator.maps`)."""
        return () if self.translator is None else self.translator.maps

    @property
    def target(self) -> str | None:
        """The target of the translator or, if there is no translator, the segmenter's modality."""
        if self.translator is not None:
            return self.translator.model.config.target
        assert self.segmenter is not None
        return self.segmenter.modality

    @property
    def brain_only(self) -> tuple[str, ...]:
        """The names of the models that were trained on skull-stripped brains only."""
        found = []
        if self.translator is not None and self.translator.reads_weights:
            model = self.translator.model
            found += [model.name] * bool(model.config.brain_only)
        if self.segmenter is not None:
            found += [self.segmenter.name] * bool(self.segmenter.brain_only)
        return tuple(found)

    @property
    def device(self) -> str:
        """The device of the first network."""
        first = self.segmenter if self.translator is None else self.translator
        return getattr(getattr(first, "resources", None), "device", "cpu")

    def load(self) -> None:
        """Read all weights now, so that errors are reported before any scan is read."""
        if self.translator is not None and self.translator.reads_weights:
            self.translator.model.module  # noqa: B018
        for one in (self.segmenter, self.extractor):
            if one is not None:
                one.load()

    def settings(self) -> dict[str, Any]:
        """The settings that results depend on, in a form that JSON can hold."""
        found: dict[str, Any] = {}
        if self.translator is not None:
            found |= {
                "method": self.translator.method.name,
                "model": self.translator.fingerprint,
                "target": self.translator.model.config.target,
                "options": self.translator.options.model_dump(mode="json"),
            }
        if self.segmenter is not None:
            found["segmenter"] = self.segmenter.identity()
        if self.extractor is not None:
            found["extractor"] = self.extractor.identity()
        return found

    def __call__(
        self,
        image: Image,
        *,
        mask: Mask | None = None,
        modality: str | None = None,
        spacing: float | Sequence[float] | None = None,
        interpolate: bool = False,
        warnings: Sequence[str] = (),
    ) -> Result:
        """Read, check, translate and segment one scan.

        Parameters
        ----------
        image : path, Series, Volume or nibabel image
            The path of a file, or of a folder or a zip archive with one DICOM series.
        mask : path, volume, nibabel image or array, optional
            The foreground mask, which is the brain for models of skull-stripped brains. Without it
            the extractor finds it. Without an extractor the mask beside the scan's file is used
            (`chiasm.files.find.mask_beside`). If there is none, the foreground is found in the
            scan.
        modality : str, optional
            The modality of the scan, if its file name does not tell it or is wrong.
        spacing : float or three floats, optional
            In mm, for PNG and TIFF slices.
        interpolate : bool
            Whether a DICOM series with missing or uneven slices is interpolated.
        warnings : sequence of str
            Earlier warnings about the scan, which are kept with the result.

        Raises
        ------
        CaseError
            The scan or the mask cannot be read or processed, or the extractor finds no brain.
        UsageError
            A mask is given beside an extractor.
        """
        if self.extractor is not None:
            check_extract(self.extractor.name, mask)
        if isinstance(image, str | Path) and _holds_series(Path(image)):
            image = only_series(Path(image))
            warnings = (*warnings, *image.notes)
        volume = as_volume(image, modality=modality, spacing=spacing, interpolate=interpolate)
        known = modality_name(modality) if modality else volume.modality
        found = [
            *warnings,
            *admission.content_warnings(volume),
            *admission.modality_warnings(known, self.translator, self.segmenter),
        ]
        foreground: np.ndarray | None = None
        told: tuple[str, ...] = ()
        record: dict[str, Any] = {}
        if mask is not None:
            foreground, told = as_mask(mask, volume, spacing)
        elif self.extractor is not None:
            foreground, told, record = _extracted(self.extractor, volume)
        elif isinstance(image, str | Path):
            foreground, told, mask = foreground_beside(image, volume, spacing)
        found += told
        foreground = checked_foreground(foreground, volume)
        found += admission.skull_warnings(volume, foreground, brain_only=self.brain_only)
        score = None
        if self.translator is not None and self.check_translatability:
            score = admission.translatability_of(volume, self.translator, foreground)
            found += admission.translatability_warnings(score)
        result = self.process(volume, foreground)
        found += result.warnings
        record = {
            "modality": known,
            "foreground": _origin(mask),
            **record,
            "warnings": found,
        }
        if score is not None:
            record["translatability"] = score.model_dump(mode="json")
        return replace(result, warnings=tuple(found), record=record | result.record)

    def process(self, volume: Volume, foreground: np.ndarray) -> Result:
        """Translate and segment a scan that was read and checked.

        Parameters
        ----------
        volume : Volume
        foreground : bool array, shape of the volume

        Raises
        ------
        CaseError
            The scan cannot be processed.
        """
        record: dict[str, Any] = {}
        warnings: tuple[str, ...] = ()
        translation: Translation | None = None
        segmentation: Segmentation | None = None
        if self.translator is not None:
            translator = self.translator
            cost = measure(lambda: translator.translate(volume, foreground), self.device)
            translation = cost.result
            name = f"the method {translator.method.name}"
            translation = translation.each(lambda made: _on_grid(made, volume, name))
            spent = {"seconds": round(cost.seconds, 3), "memory_mb": round(cost.memory_mb)}
            record["translation"] = translation.record | {"cost": spent}
        if self.segmenter is not None:
            segmenter = self.segmenter
            image = volume if translation is None else translation.volume
            own = measure(lambda: segmenter.segment(image, foreground), self.device)
            segmentation = own.result
            labels = _on_grid(segmentation.labels, volume, f"the segmenter {segmenter.name}")
            segmentation = Segmentation(labels, segmentation.record, segmentation.warnings)
            warnings = segmentation.warnings
            spent = {"seconds": round(own.seconds, 3), "memory_mb": round(own.memory_mb)}
            record["segmentation"] = segmentation.record | {"cost": spent}
        return Result(
            volume,
            foreground,
            None if translation is None else translation.volume,
            None if translation is None else translation.deviation,
            None if translation is None else translation.expected_error,
            None if segmentation is None else segmentation.labels,
            warnings,
            record,
        )


def check_extract(name: str, mask: Mask | None) -> None:
    """Refuse an extractor beside a mask, which would leave it without effect (`UsageError`)."""
    if mask is not None:
        problem = f"changes nothing, because {flag('mask')} is given"
        raise UsageError(explain(EXTRACT, name, problem, "one of the two"))


def _extracted(
    extractor: Segmenter, volume: Volume
) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """The brain that an extractor finds, warnings, and facts for the record."""
    told: tuple[str, ...] = ()
    if extractor.modality not in (None, volume.modality) and volume.modality is not None:
        told = (
            f"This scan is {volume.modality}, but {extractor.name}, which finds the brain, knows "
            f"only {extractor.modality}. Check the brain that it found.",
        )
    made = extractor.segment(volume)
    inside = _on_grid(made.labels, volume, f"the extractor {extractor.name}").array > 0
    if not inside.any():
        legal = "a scan in which it finds the brain, or a mask"
        raise CaseError(explain(EXTRACT, extractor.name, "found no brain", legal))
    record = {"foreground": f"found by {extractor.name}", "extraction": made.record}
    return inside, (*told, *made.warnings), record


def _on_grid(made: Any, scan: Volume, name: str) -> Any:
    """What a translator or segmenter made, on the grid and in the storage order of the scan.

    Code from outside the package may return another storage order, which is undone. Any other
    grid is an error, because the output is written with the geometry of the scan.
    """
    if made.same_grid(scan):
        return made
    turned, turn = Turn.of(made).image(made), Turn.of(scan)
    if not turned.same_grid(turn.image(scan)):
        problem = f"returned {made!r}"
        raise CaseError(explain(name, "", problem, f"the grid of the scan, {scan!r}"))
    return turn.image_back(turned, scan)


def _origin(mask: Mask | None) -> str:
    """The origin of the foreground, for the record."""
    if mask is None:
        return "found in the scan"
    return str(mask) if isinstance(mask, str | Path) else "given"


def _check_pair(translator: Translator, segmenter: Segmenter) -> None:
    made, wanted = translator.model.config.target, segmenter.modality
    if wanted in (None, made):
        return
    legal = f"a segmenter of {made}, the target of the model {translator.model.name}"
    raise UsageError(explain("--segmenter", segmenter.name, f"knows only {wanted}", legal))


def as_volume(
    image: Image,
    *,
    modality: str | None = None,
    spacing: float | Sequence[float] | None = None,
    interpolate: bool = False,
    argument: str = "-i",
) -> Volume:
    """Turn a path, a `Series`, a `Volume` or a nibabel image into a `Volume` of a modality.

    Raises
    ------
    CaseError
        The image cannot be read, has more than three axes, or is constant.
    """
    name = None if modality is None else modality_name(modality)
    if isinstance(image, Volume):
        files.check_intensities(image, argument, "image")
        return image if name is None else image.with_array(image.array, modality=name, units="")
    if isinstance(image, str | Path) and _holds_series(Path(image)):
        image = only_series(Path(image))
    if isinstance(image, str | Path):
        return files.read(image, modality=name, spacing=spacing, argument=argument)
    if isinstance(image, Series):
        volume = read_series(image, interpolate=interpolate)
        files.check_intensities(volume, argument, image.path)
        return volume if name is None else volume.with_array(volume.array, modality=name, units="")
    if spacing is not None:
        problem = "does not apply to an image in memory"
        raise UsageError(explain("spacing", spacing, problem, "a spacing for PNG and TIFF only"))
    volume = _image_in_memory(image, name, argument)
    files.check_intensities(volume, argument, "image")
    return volume


def _holds_series(path: Path) -> bool:
    """Whether a path is a folder, or a file or an archive of DICOM."""
    return path.is_dir() or is_archive(path) or is_dicom(path)


def _image_in_memory(image: Any, modality: str | None, argument: str) -> Volume:
    """A nibabel image as a `Volume`, in millimetres whatever unit its header names."""
    if not isinstance(image, nib.spatialimages.SpatialImage):
        legal = "a path, a chiasm.Volume or a nibabel image"
        raise UsageError(explain(argument, type(image).__name__, "is no image", legal))
    array = np.asarray(image.dataobj)
    extra = array.shape[3:]
    if any(size != 1 for size in extra):
        problem = f"has shape {array.shape}"
        raise CaseError(explain(argument, "image", problem, "three axes, or one volume in 4D"))
    array, affine = array.reshape((*array.shape, 1)[:3]), affine_in_mm(image)
    files.check_voxel_size(array.shape, affine, argument, "image")
    return Volume(array, affine, modality=modality)


def as_mask(
    mask: Mask, volume: Volume, spacing: float | Sequence[float] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The foreground mask on the volume's grid, and sentences that say what looks wrong with it.

    Raises
    ------
    CaseError
        The mask cannot be read, lies on another grid, or is empty.
    """
    argument, name = flag("mask"), ""
    found: Any = mask
    if isinstance(mask, str | Path):
        name = str(mask)
        found = files.read_mask(mask, spacing=spacing, argument=argument)
    elif not isinstance(mask, np.ndarray | Volume | LabelVolume):
        found = _image_in_memory(mask, None, argument)
    return fitted_mask(found, volume, argument=argument, name=name)
