"""A model is a folder: config.json, model.safetensors, README.md (its card)."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from chiasm.context import Context
from chiasm.errors import CaseError, UsageError, explain
from chiasm.intensity import IntensityMap
from chiasm.modality import modality_name
from chiasm.preparation import GridSettings
from chiasm.registry import SEGMENTERS, TRANSLATORS

if TYPE_CHECKING:
    from torch import nn

_Settings = TypeVar("_Settings", bound=BaseModel)

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SHIPPED = Path(__file__).parent / "weights"


class LabelSettings(BaseModel):
    """One structure a segmenter finds, in the order of its output channels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int
    name: str
    colour: str


class Scale(BaseModel):
    """Of a modality: what 0 and 1 mean in its units, and how its intensities lie between."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intensity: IntensityMap
    quantiles: list[float] = []


class ModelConfig(BaseModel):
    """All that is needed to run a model, but its weights.

    Parameters
    ----------
    format_version : int
        Of this layout; a later one is refused.
    kind, method : str
        What it is, and the registered translator or segmenter that runs it.
    target : str
        The modality it was trained on (BIDS suffix); of a translator, what it makes.
    targets : dict
        Of a translator that makes several: the scale of each, in the order of its labels.
        ``target`` is that which it makes unless it is told (`Model.towards`).
    sources : list of str
        Of a translator that learned from source images: the modalities it knows; any, if empty.
    any_contrast : bool
        Of a segmenter: whether it knows every modality, not its target alone.
    brain_only : bool
        Whether it has only ever seen skull-stripped brains.
    grid, context : GridSettings, Context
        The lattice and the part of the volume that its network sees.
    network, guides, calibration, latent, diffusion, inversion, detail : dict
        As the network's, guides', calibration's, latent's, denoiser's, inversion's and detail's
        settings read them.
    intensity : IntensityMap
        Of the target: what 0 and 1 mean in its units; None for a segmenter.
    quantiles : list of float
        Of the target's intensities in the head, on [0, 1]; for histogram matching.
    labels : list of LabelSettings
        Of a segmenter.
    translatable_from : float or None
        Of a translator: the score (`chiasm.evaluation.translatability`) from which on scans were
        found to be translated well; None where that was not measured.
    training : dict
        How the weights came about: recipe, data, seed, iterations, scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    kind: Literal["translator", "segmenter"]
    method: str
    target: str
    targets: dict[str, Scale] = {}
    sources: list[str] = []
    any_contrast: bool = False
    brain_only: bool = True
    grid: GridSettings
    context: Context = Context()
    network: dict[str, Any]
    guides: list[dict[str, Any]] = []
    calibration: dict[str, Any] | None = None
    latent: dict[str, Any] | None = None
    diffusion: dict[str, Any] | None = None
    inversion: dict[str, Any] | None = None
    detail: dict[str, Any] | None = None
    intensity: IntensityMap | None = None
    quantiles: list[float] = []
    labels: list[LabelSettings] = []
    translatable_from: float | None = None
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelConfig:
        modality_name(self.target, "target")
        (TRANSLATORS if self.kind == "translator" else SEGMENTERS).check(self.method, "method")
        if self.kind == "translator" and self.intensity is None:
            raise ValueError("a translator's config needs the target's intensity map")
        if self.kind == "segmenter" and not self.labels:
            raise ValueError("a segmenter's config needs its labels")
        if self.targets and self.target not in self.targets:
            raise ValueError("the target is none of the targets")
        return self


@dataclass(frozen=True)
class Model:
    """A model folder, read; its weights are read when `module` is first used.

    ``whole`` is the model as it was read, where this is a view of it (`towards`).
    """

    name: str
    folder: Path
    config: ModelConfig
    whole: Model | None = None

    def towards(self, target: str) -> Model:
        """The same model, to make this one of its targets; weights are read once for all.

        Raises
        ------
        UsageError
            A modality that it does not make.
        """
        scales = self.config.targets
        if target == self.config.target:
            return self
        if target not in scales:
            legal = ", ".join(scales or [self.config.target])
            raise UsageError(explain("--to", target, "is not what this model makes", legal))
        chosen = {"target": target, **dict(scales[target])}
        config = self.config.model_copy(update=chosen)
        return Model(self.name, self.folder, config, self.whole or self)

    @cached_property
    def module(self) -> Any:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises
        ------
        CaseError
            Weights missing, not safetensors, or not those of the config's network; or a config
            that describes no network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.whole is not None:
            return self.whole.module
        path = self.folder / WEIGHTS
        argument = "--segmenter" if self.config.kind == "segmenter" else "--model"
        legal = f"a folder with {CONFIG} and {WEIGHTS}, as `chiasm train` writes it"
        if not path.is_file():
            others = sorted(
                p.name
                for p in self.folder.iterdir()
                if p.suffix in (".pt", ".pth", ".bin", ".ckpt")
            )
            found = f"; {others[0]} is a pickle and is not loaded" if others else ""
            raise CaseError(explain(argument, path, f"does not exist{found}", legal))
        try:
            weights = load_file(path)
        except (SafetensorError, OSError) as error:
            problem = f"is not a safetensors file ({str(error).splitlines()[0]})"
            raise CaseError(explain(argument, path, problem, legal)) from None
        try:
            module = build(self.config)
            module.load_state_dict(weights)
        except RuntimeError:
            problem = "holds weights that do not fit the network of its config"
            raise CaseError(explain(argument, path, problem, legal)) from None
        except ValueError as error:  # settings of a network, guide or diffusion that are none
            problem = f"describes no network ({' '.join(str(error).split())})"
            raise CaseError(explain(argument, self.folder / CONFIG, problem, legal)) from None
        return module.eval().requires_grad_(False)

    def settings(self, kind: type[_Settings], part: str, **changes: Any) -> _Settings:
        """A part of the config as its settings' class reads it, under changes.

        Raises
        ------
        CaseError
            The config holds what the class refuses.
        """
        try:
            return kind.model_validate((getattr(self.config, part) or {}) | changes)
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"has a config with an illegal {part}.{'.'.join(map(str, first['loc']))}"
            raise CaseError(explain("--model", self.folder, problem, first["msg"])) from None


def build(config: ModelConfig) -> Any:
    """The torch module of a config, with fresh weights; its `build` says which class."""
    kinds = TRANSLATORS if config.kind == "translator" else SEGMENTERS
    return kinds.load(config.method, "method").build(config)


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(folder.name for folder in SHIPPED.glob("*") if (folder / CONFIG).is_file())


def peek(name: str) -> dict[str, Any]:
    """The config of a shipped model as plain data, without a check."""
    return json.loads((SHIPPED / name / CONFIG).read_text(encoding="utf-8"))


def load(name: str | Path, *, kind: str, argument: str = "--model") -> Model:
    """A shipped model by name, or any by its folder.

    Parameters
    ----------
    name : str or Path
    kind : {"translator", "segmenter"}
        What it must be.

    Raises
    ------
    UsageError
        Neither a shipped model nor a folder with a config; or of the other kind.
    CaseError
        A config that cannot be read: damaged, of a later format, or inconsistent.
    """
    folder = SHIPPED / str(name) if str(name) in shipped() else Path(name)
    path = folder / CONFIG
    names = [one for one in shipped() if peek(one).get("kind") == kind]
    legal = f"a folder with {CONFIG}, or one of {', '.join(names) or '(none is shipped)'}"
    if not path.is_file():
        raise UsageError(explain(argument, name, "is not a model", legal))
    try:
        config = ModelConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"msg": "not UTF-8"}
        where = ".".join(str(part) for part in first.get("loc", ())) or "the file"
        raise CaseError(
            explain(
                argument,
                path,
                f"cannot be used: {where}: {first['msg']}",
                "a config as `chiasm train` writes it, format_version 1",
            )
        ) from None
    if config.kind != kind:
        raise UsageError(explain(argument, name, f"is a {config.kind}", f"a {kind}; {legal}"))
    return Model(Path(name).name, folder, config)


def save(folder: Path, config: ModelConfig, module: nn.Module, card: str) -> None:
    """Write a model's folder, whole or not at all; an existing model there is replaced.

    Other files in the folder (checkpoints, logs) stay.

    Raises
    ------
    CaseError
        The disk is full, or the folder cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors import torch as tensors

    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
            draft = Path(name)
            # Its own save_file would let nobody but its owner read it.
            (draft / WEIGHTS).write_bytes(tensors.save(weights))
            (draft / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (draft / CARD).write_text(card, encoding="utf-8")
            for part in (WEIGHTS, CARD, CONFIG):
                os.replace(draft / part, folder / part)
    except (OSError, SafetensorError) as error:
        problem = f"could not be written ({error})"
        legal = "a folder that can be written to, with enough space"
        raise CaseError(explain("-o", folder, problem, legal)) from error
