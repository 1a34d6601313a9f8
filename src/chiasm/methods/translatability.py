"""Predicts from a few slices whether a model can translate a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.image.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

    from chiasm.methods.base import NetworkTranslator

_BINS = 16  # few bins, because the foreground of one slice holds only some thousand voxels
_MIDDLE = (0.2, 0.8)  # the share of the slices that show all tissues


class Translatability(BaseModel):
    """How well a source determines its translation.

    Attributes
    ----------
    score : float
        ``shared · agreement``, or 0 where the agreement is negative; 0 to 1.
    shared : float
        Normalised mutual information of the source's and the translation's intensities in the
        foreground, (H(X) + H(Y)) / H(X, Y) − 1 (Studholme et al., Pattern Recognition 1999), 0 to
        1. It is low if the source does not determine the translation because of noise or of
        tissues that are equally bright.
    agreement : float
        Correlation of the translation with the translation of the source's negative, 1 − x, −1 to
        1. It is low if the translation follows the contrast instead of the anatomy.
    slices : int
        The number of slices (or volumes, for a 3D network) that were used.
    expected_from : float or None
        The lowest score of scans that the model translates well
        (`chiasm.models.ModelConfig.translatable_from`).
    """

    model_config = ConfigDict(frozen=True)

    score: float
    shared: float
    agreement: float
    slices: int
    expected_from: float | None = None


def translatability(
    volume: Volume,
    translator: NetworkTranslator,
    mask: np.ndarray | None = None,
    *,
    slices: int = 8,
) -> Translatability:
    """Predict from a few slices how good a translation will be, without truth or segmenter.

    Parameters
    ----------
    volume : Volume
        The source.
    translator : NetworkTranslator
        The translator, which translates each slice twice.
    mask : bool array, shape of the volume, optional
        The foreground. It is computed if it is not given.
    slices : int
        The number of slices, evenly spaced over the middle of the foreground. All slices are used
        if there are fewer.

    Raises
    ------
    CaseError
        The volume cannot be prepared, see `chiasm.image.preparation.prepare`.
    """
    import torch
    from skimage.metrics import normalized_mutual_information

    from chiasm.augment.contrast import normalise
    from chiasm.image.mask import checked_foreground
    from chiasm.image.orientation import Turn
    from chiasm.image.preparation import prepare
    from chiasm.machine.device import resolve_device

    config, device = translator.model.config, resolve_device(translator.resources.device)
    module = translator.model.module.to(device)
    turn = Turn.of(volume)
    prepared = prepare(
        turn.image(volume),
        next(iter(translator.grids.values())),
        config.context,
        divisible_by=module.divisible_by,
        mask=turn.array(checked_foreground(mask, volume)),
    )
    indices = prepared.slice_indices()
    some = indices
    if len(indices) > slices:
        first, last = (share * (len(indices) - 1) for share in _MIDDLE)
        which = np.unique(np.linspace(first, last, slices).round().astype(int))
        some = [indices[index] for index in which]
    images = prepared.samples()[some]
    masks = config.context.samples(prepared.foreground)[some]
    source, foreground = (torch.from_numpy(one).to(device) for one in (images, masks))

    def translated(image: Tensor) -> Tensor:
        def all_with(chosen: NetworkTranslator) -> Tensor:
            made = chosen.run(image, some, lambda done, steps: None)
            return made[:, :1].clamp(0, 1)  # without the expected error

        return all_with(translator.fitted(image, foreground, all_with))

    with torch.inference_mode():
        plain, negative = (
            translated(image).cpu().numpy() for image in (source, normalise(1 - source, foreground))
        )
    middle = slice(images.shape[1] // 2, images.shape[1] // 2 + 1)  # the slice itself, in 2.5D
    inside = masks[:, middle]
    known, made, again = (x[inside] for x in (images[:, middle], plain, negative))
    flat = min(np.ptp(known), np.ptp(made), np.ptp(again)) == 0
    shared = 0.0 if flat else normalized_mutual_information(known, made, bins=_BINS) - 1
    agreement = 0.0 if flat else np.corrcoef(made, again)[0, 1]
    return Translatability(
        score=float(shared * max(agreement, 0.0)),
        shared=float(shared),
        agreement=float(agreement),
        slices=len(some),
        expected_from=config.translatable_from,
    )
