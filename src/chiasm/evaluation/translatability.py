"""Whether a model can be expected to translate a scan, told by a few of its slices beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from chiasm.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

    from chiasm.translators import NetworkTranslator

_BINS = 16  # of each image's intensities; few, as one slice holds some thousand voxels of head
_MIDDLE = (0.2, 0.8)  # where slices show all tissues, as shares of the head


class Translatability(BaseModel):
    """How well a source determines its translation.

    Attributes
    ----------
    score : float
        ``shared · agreement``, or 0 where the agreement is negative; 0 to 1.
    shared : float
        Normalised mutual information of the source's and the translation's intensities in the
        head, (H(X) + H(Y)) / H(X, Y) − 1 (Studholme et al., Pattern Recognition 1999), 0 to 1:
        low where noise or equally bright tissues leave the translation to guess.
    agreement : float
        Correlation of the translation with that of the source's negative, 1 − x, −1 to 1: low
        where the translation follows the contrast in place of the anatomy.
    parts : int
        Slices (or volumes, for a 3D network) that were looked at.
    expected_from : float or None
        The model's own least score (`chiasm.models.ModelConfig.translatable_from`).
    """

    model_config = ConfigDict(frozen=True)

    score: float
    shared: float
    agreement: float
    parts: int
    expected_from: float | None = None

    @property
    def warning(self) -> str | None:
        """In words, if the score is lower than what the model was found to translate well."""
        if self.expected_from is None or self.score >= self.expected_from:
            return None
        return (
            f"translatability {self.score:.2f} is below {self.expected_from:.2f}, from where on "
            "this model was found to translate well: expect errors, and look at the result"
        )


def translatability(
    volume: Volume,
    translator: NetworkTranslator,
    mask: np.ndarray | None = None,
    *,
    parts: int = 8,
) -> Translatability:
    """Predict from a few slices how good a translation will be; needs no truth and no segmenter.

    Parameters
    ----------
    volume : Volume
        The source.
    translator : NetworkTranslator
        Each slice is translated twice.
    mask : bool array, shape of the volume, optional
        The head; found if not given.
    parts : int
        How many slices, evenly spaced over the middle of the head; all, if it has fewer.

    Raises
    ------
    CaseError
        The volume cannot be prepared, see `chiasm.preparation.prepare`.
    """
    import torch
    from skimage.metrics import normalized_mutual_information

    from chiasm.device import resolve_device
    from chiasm.guides.randomise import normalise
    from chiasm.preparation import prepare

    config, device = translator.model.config, resolve_device(translator.options.device)
    module = translator.model.module.to(device)
    prepared = prepare(
        volume, config.grid, config.context, divisible_by=module.divisible_by, mask=mask
    )
    places = prepared.places()
    some = places
    if len(places) > parts:
        first, last = (share * (len(places) - 1) for share in _MIDDLE)
        which = np.unique(np.linspace(first, last, parts).round().astype(int))
        some = [places[index] for index in which]
    images = prepared.samples()[some]
    heads = config.context.samples(prepared.head)[some]
    source, head = torch.from_numpy(images).to(device), torch.from_numpy(heads).to(device)

    def translated(image: Tensor) -> Tensor:
        def all_with(chosen: NetworkTranslator) -> Tensor:
            return chosen.run(image, some, lambda done, steps: None).clamp(0, 1)

        return all_with(translator.fitted(image, head, all_with))

    with torch.inference_mode():
        plain, negative = (
            translated(image).cpu().numpy() for image in (source, normalise(1 - source, head))
        )
    middle = slice(images.shape[1] // 2, images.shape[1] // 2 + 1)  # the slice itself, in 2.5D
    inside = heads[:, middle]
    known, made, again = (x[inside] for x in (images[:, middle], plain, negative))
    flat = min(np.ptp(known), np.ptp(made), np.ptp(again)) == 0
    shared = 0.0 if flat else normalized_mutual_information(known, made, bins=_BINS) - 1
    agreement = 0.0 if flat else np.corrcoef(made, again)[0, 1]
    return Translatability(
        score=float(shared * max(agreement, 0.0)),
        shared=float(shared),
        agreement=float(agreement),
        parts=len(some),
        expected_from=config.translatable_from,
    )
