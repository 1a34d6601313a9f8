"""The weights that a training begins with, when they are not fresh ones."""

from __future__ import annotations

from typing import Any

from chiasm import models
from chiasm.errors import CaseError, UsageError, explain


def begin_with(start: models.Model, module: Any) -> str:
    """Take every tensor of the same name and shape; "N of M tensors" says how many there were.

    Raises
    ------
    UsageError
        None fits.
    """
    own, its = module.state_dict(), start.module.state_dict()
    same = {name for name, one in own.items() if name in its and its[name].shape == one.shape}
    if not same:
        legal = "a model with parts of the same networks, or null"
        raise UsageError(explain("pretrained", start.folder, "has no weights that fit", legal))
    module.load_state_dict({name: its[name] if name in same else own[name] for name in own})
    return f"{len(same)} of {len(own)} tensors of {start.name}"


def continue_from(start: models.Model, draft: models.ModelConfig, module: Any) -> None:
    """Take all weights of an earlier stage, which must be one of the same model.

    Raises
    ------
    CaseError
        It is a stage of another model.
    """
    for part in ("latent", "network", "context", "grid", "targets"):
        mine, its = getattr(draft, part), getattr(start.config, part)
        if list(mine) != list(its) if part == "targets" else mine != its:
            problem = f"is a stage of another model: its {part} is {its}"
            raise CaseError(explain("-o", start.folder, problem, f"{mine}, or --overwrite"))
    module.load_state_dict(start.module.state_dict())
