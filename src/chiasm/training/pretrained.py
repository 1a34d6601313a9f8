"""The weights that a training begins with, when they are not fresh ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chiasm import models
from chiasm.errors import CaseError, UsageError, explain


def begin_with(
    start: models.Model, draft: models.ModelConfig, module: Any, complete: Sequence[str] = ()
) -> str:
    """Take every tensor of the same name and shape; "N of M tensors" says how many there were.

    Parameters
    ----------
    start : Model
        Whose weights are taken.
    draft : ModelConfig
        Of the model to be trained.
    module : nn.Module
        Its networks.
    complete : sequence of str
        Parts of it that are not trained, so that all their tensors must be there.

    Raises
    ------
    UsageError
        None fits, or not all of such a part.
    """
    own, its = module.state_dict(), start.module.state_dict()
    same = {name for name, one in own.items() if name in its and its[name].shape == one.shape}
    if not same:
        legal = "a model with parts of the same networks, or null"
        raise UsageError(explain("pretrained", start.folder, "has no weights that fit", legal))
    for part in complete:
        wanted = {name for name in own if name.startswith(f"{part}.")}
        if not wanted <= same:
            problem = f"lacks weights of the {part}, which is not to be trained"
            legal = "a model of the same settings, or at least 1 iteration for its stage"
            raise UsageError(explain("pretrained", start.folder, problem, legal))
    if complete and [*draft.targets] != [*start.config.targets]:
        problem = f"makes {', '.join(start.config.targets)}, in that order"
        legal = f"a model of {', '.join(draft.targets)}"
        raise UsageError(explain("pretrained", start.folder, problem, legal))
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
