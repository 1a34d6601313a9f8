"""Makes a segmenter from a name or a folder."""

from __future__ import annotations

from pathlib import Path

from chiasm import models
from chiasm.errors import UsageError, explain
from chiasm.machine.device import Resources, resolve_device
from chiasm.registry import DEFAULT_SEGMENTER, SEGMENTER_ADAPTERS, SEGMENTERS
from chiasm.segmenters.base import Segmenter


def load_segmenter(
    name: str | Path | Segmenter = DEFAULT_SEGMENTER,
    resources: Resources | None = None,
    argument: str = "--segmenter",
) -> Segmenter:
    """Make a segmenter that can be called for many volumes. It reads the config, but no weights.

    Parameters
    ----------
    name : str or Path
        The name of a shipped model, a model folder, the name of a registered segmenter that
        needs no model folder, or a segmenter of others that one of the kinds in
        `chiasm.registry.SEGMENTER_ADAPTERS` recognises: a command line, the file of a network, or a
        folder of nnU-Net.
    resources : Resources, optional
        Batch size and device.
    argument : str
        The argument that named it; errors begin with it.

    Raises
    ------
    UsageError
        There is no such segmenter.
    CaseError
        The config of the model cannot be read.
    """
    if isinstance(name, Segmenter):
        return name
    resources = resources or Resources()
    resolve_device(resources.device)
    if str(name) in SEGMENTERS:
        kind = SEGMENTERS.load(str(name))
        if not hasattr(kind, "build"):
            return kind(resources)
        legal = "the folder of a trained model"
        raise UsageError(explain(argument, name, "needs the weights of a model", legal))
    for adapter in (SEGMENTER_ADAPTERS.load(kind) for kind in SEGMENTER_ADAPTERS):
        if adapter.recognises(str(name)):
            made: Segmenter = adapter(name, resources, argument)
            return made
    loaded = models.load(name, kind="segmenter", argument=argument)
    return SEGMENTERS.load(loaded.config.method)(loaded, resources)
