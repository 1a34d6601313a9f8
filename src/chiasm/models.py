"""A model is a folder with config.json, model.safetensors and README.md, which is its card."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.context import Context
from chiasm.image.intensity import IntensityMap
from chiasm.image.modality import modality_name
from chiasm.image.preparation import GridSettings
from chiasm.registry import METHODS, SEGMENTERS

if TYPE_CHECKING:
    from torch import nn

_Settings = TypeVar("_Settings", bound=BaseModel)

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
SHIPPED = Path(__file__).parent / "weights"


class LabelSettings(BaseModel):
    """One structure that a segmenter finds. The order is that of its output channels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int
    name: str
    colour: str


class Scale(BaseModel):
    """The intensity map of a modality, and the quantiles of its intensities on [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intensity: IntensityMap
    quantiles: list[float] = []


class ModelConfig(BaseModel):
    """All that is needed to run a model, except its weights.

    Parameters
    ----------
    format_version : int
        Version of this layout. A later version is refused.
    kind : {"translator", "segmenter"}
        What the model is.
    method : str
        The registered method or segmenter that runs it.
    target : str
        The modality that it was trained on (BIDS suffix). A translator makes this modality.
    targets : dict
        For a translator with several targets, the scale of each, in the order of its class labels.
        ``target`` is the default (see `Model.towards`).
    sources : list of str
        For a translator that was trained with source images, the modalities that it accepts. An
        empty list accepts any modality.
    any_contrast : bool
        Whether a segmenter was trained for every modality, and not only for its target.
    brain_only : bool or None
        Whether all training scans were skull-stripped; None if that is unknown.
    grid, context : GridSettings, Context
        The sampling grid, and the part of the volume that the network sees.
    network : dict
        Name and arguments of the network, see `chiasm.networks.NetworkSettings`.
    settings : dict
        The training settings that the method keeps (``model_settings`` of
        `chiasm.methods.method.Method`). Only the method reads them.
    intensity : IntensityMap or None
        The map between [0, 1] and the target's units; None for a segmenter.
    quantiles : list of float
        Quantiles of the target's intensities in the foreground, on [0, 1], for histogram matching.
    labels : list of LabelSettings
        The structures of a segmenter.
    translatable_from : float or None
        The lowest score (`chiasm.methods.translatability`) of scans that a translator was found to
        translate well; None if that was not measured.
    training : dict
        How the weights were made: settings, number of subjects, cost and scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[2] = 2
    kind: Literal["translator", "segmenter"]
    method: str
    target: str
    targets: dict[str, Scale] = {}
    sources: list[str] = []
    any_contrast: bool = False
    brain_only: bool | None = None
    grid: GridSettings
    context: Context = Context()
    network: dict[str, Any]
    settings: dict[str, Any] = {}
    intensity: IntensityMap | None = None
    quantiles: list[float] = []
    labels: list[LabelSettings] = []
    translatable_from: float | None = None
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelConfig:
        modality_name(self.target, "target")
        if self.kind == "translator":
            known = METHODS.load(self.method, "method").model_settings
        else:
            known = SEGMENTERS.load(self.method, "method").model_settings
        if unknown := sorted(set(self.settings) - set(known)):
            raise ValueError(f"{self.method} does not have the settings {', '.join(unknown)}")
        if self.kind == "translator" and self.intensity is None:
            raise ValueError("a translator's config needs the target's intensity map")
        if self.kind == "segmenter" and not self.labels:
            raise ValueError("a segmenter's config needs its labels")
        if self.targets and self.target not in self.targets:
            raise ValueError("the target must be one of the targets")
        return self


@dataclass(frozen=True)
class Model:
    """A model folder whose config has been read. Its weights are read when `module` is first used.

    ``complete`` is the model as it was read, if this one is a view of it (`towards`).
    """

    name: str
    folder: Path
    config: ModelConfig
    complete: Model | None = None

    def towards(self, target: str) -> Model:
        """The same model with another of its targets. The weights are read once for all targets.

        Raises
        ------
        UsageError
            The model does not make this modality.
        """
        scales = self.config.targets
        if target == self.config.target:
            return self
        if target not in scales:
            legal = ", ".join(scales or [self.config.target])
            raise UsageError(explain("--to", target, "is not what this model makes", legal))
        chosen = {"target": target, **dict(scales[target])}
        config = self.config.model_copy(update=chosen)
        return Model(self.name, self.folder, config, self.complete or self)

    @cached_property
    def module(self) -> Any:
        """The network with its weights, in evaluation mode, on the CPU.

        Raises
        ------
        CaseError
            The weights are missing, are not a safetensors file or do not fit the network, or the
            config does not describe a network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.complete is not None:
            return self.complete.module
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
        except ValueError as error:  # illegal settings of a network, guide or diffusion
            problem = f"does not describe a network ({' '.join(str(error).split())})"
            raise CaseError(explain(argument, self.folder / CONFIG, problem, legal)) from None
        return module.eval().requires_grad_(False)

    @cached_property
    def fingerprint(self) -> str:
        """The model's name and the first 16 digits of the SHA-256 of its config and weights."""
        digest = hashlib.sha256()
        for part in (CONFIG, WEIGHTS):
            path = self.folder / part
            digest.update(path.read_bytes() if path.is_file() else b"")
        return f"{self.name} {digest.hexdigest()[:16]}"

    def settings(self, kind: type[_Settings], part: str, **changes: Any) -> _Settings:
        """One part of the method's settings, read by its class, with changes.

        Raises
        ------
        CaseError
            The config holds an illegal setting.
        """
        try:
            return kind.model_validate((self.config.settings.get(part) or {}) | changes)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, (part, *first["loc"])))
            problem = f"has a config with an illegal settings.{key}"
            raise CaseError(explain("--model", self.folder, problem, first["msg"])) from None


def build(config: ModelConfig) -> Any:
    """The torch module of a config, with fresh weights, made by the method's ``build``."""
    if config.kind == "segmenter":
        return SEGMENTERS.load(config.method, "method").build(config)
    return METHODS.load(config.method, "method").load_translator().build(config)  # type: ignore[attr-defined]


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(folder.name for folder in SHIPPED.glob("*") if (folder / CONFIG).is_file())


def peek(name: str) -> dict[str, Any]:
    """The config of a shipped model as plain data, which is not checked."""
    return json.loads((SHIPPED / name / CONFIG).read_text(encoding="utf-8"))


def load(name: str | Path, *, kind: str | None, argument: str = "--model") -> Model:
    """Load a shipped model by its name, or any model by its folder.

    Parameters
    ----------
    name : str or Path
    kind : {"translator", "segmenter"} or None
        The kind that the model must have. With None, it can have any.
    argument : str
        The option that errors name.

    Raises
    ------
    UsageError
        There is no such model, or it has the other kind.
    CaseError
        The config is damaged, has a later format, or is inconsistent.
    """
    folder = SHIPPED / str(name) if str(name) in shipped() else Path(name)
    path = folder / CONFIG
    names = [one for one in shipped() if kind in (None, peek(one).get("kind"))]
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
                "a config as `chiasm train` writes it, format_version 2",
            )
        ) from None
    if kind not in (None, config.kind):
        raise UsageError(explain(argument, name, f"is a {config.kind}", f"a {kind}; {legal}"))
    return Model(Path(name).name, folder, config)


def save(folder: Path, config: ModelConfig, module: nn.Module, card: str) -> None:
    """Write a model folder completely or not at all. An existing model there is replaced.

    Other files in the folder (checkpoints, logs) are kept.

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
            # `save_file` of safetensors would make the file readable for its owner alone.
            (draft / WEIGHTS).write_bytes(tensors.save(weights))
            (draft / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (draft / CARD).write_text(card, encoding="utf-8")
            for part in (WEIGHTS, CARD, CONFIG):
                os.replace(draft / part, folder / part)
    except (OSError, SafetensorError) as error:
        problem = f"could not be written ({error})"
        legal = "a folder that can be written to, with enough space"
        raise CaseError(explain("-o", folder, problem, legal)) from error
