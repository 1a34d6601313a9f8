"""Takes the first weights of a training from another model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chiasm import models
from chiasm.errors import CaseError, UsageError, explain


def begin_with(
    start: models.Model, draft: models.ModelConfig, module: Any, complete: Sequence[str] = ()
) -> str:
    """Take every tensor that has the same name and shape.

    Parameters
    ----------
    start : Model
        The model whose weights are taken.
    draft : ModelConfig
        The config of the model that is trained.
    module : nn.Module
        The networks of the model that is trained.
    complete : sequence of str
        Parts of the module that are not trained, so that all their tensors are needed.

    Returns
    -------
    str
        "N of M tensors of NAME", the number of tensors that were taken.

    Raises
    ------
    UsageError
        No tensor fits, a part in ``complete`` lacks a tensor, or the targets differ.
    """
    own, its = module.state_dict(), start.module.state_dict()
    same = {name for name, one in own.items() if name in its and its[name].shape == one.shape}
    if not same:
        legal = "a model with parts of the same networks, or null"
        raise UsageError(explain("pretrained", start.folder, "has no weights that fit", legal))
    for part in complete:
        wanted = {name for name in own if name.startswith(f"{part}.")}
        if not wanted <= same:
            problem = f"lacks weights of the {part}, which is not trained"
            legal = "a model of the same settings, or at least 1 iteration for its stage"
            raise UsageError(explain("pretrained", start.folder, problem, legal))
    if complete and [*draft.targets] != [*start.config.targets]:
        problem = f"makes {', '.join(start.config.targets)}, in that order"
        legal = f"a model of {', '.join(draft.targets)}"
        raise UsageError(explain("pretrained", start.folder, problem, legal))
    module.load_state_dict({name: its[name] if name in same else own[name] for name in own})
    return f"{len(same)} of {len(own)} tensors of {start.name}"


def continue_from(
    start: models.Model,
    draft: models.ModelConfig,
    module: Any,
    *,
    shared: Sequence[str] = (),
) -> None:
    """Take all weights of an earlier stage, which must be one of the same model.

    Parameters
    ----------
    start : Model
        Of the earlier stage.
    draft : ModelConfig
        Of the stage that begins.
    module : Module
        Its networks, which are given the weights.
    shared : sequence of str
        The method's settings that its stages have in common.

    Raises
    ------
    CaseError
        The stage belongs to another model.
    """
    parts = {
        part: (getattr(draft, part), getattr(start.config, part))
        for part in ("network", "context", "grid", "targets")
    }
    parts |= {part: (draft.settings.get(part), start.config.settings.get(part)) for part in shared}
    for part, (mine, its) in parts.items():
        if list(mine) != list(its) if part == "targets" else mine != its:
            problem = f"is a stage of another model: its {part} is {its}"
            raise CaseError(explain("-o", start.folder, problem, f"{mine}, or --overwrite"))
    module.load_state_dict(start.module.state_dict())
