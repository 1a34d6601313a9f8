"""The training settings that all methods share, and the functions that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from chiasm.augment.contrast import ContrastSettings
from chiasm.errors import CaseError, ChiasmError, UsageError, explain, illegal_setting
from chiasm.image.context import Context, Plane
from chiasm.image.modality import modality_name
from chiasm.image.planes import Planes
from chiasm.image.preparation import GridSettings
from chiasm.phantom.heads import HeadSettings
from chiasm.registry import METHODS, SEGMENTER_TRAININGS

_Settings = TypeVar("_Settings", bound=BaseModel)


class Augmentation(BaseModel):
    """Random geometry of the training images.

    Parameters
    ----------
    flip : float
        Share of the training images that are mirrored left to right, 0 to 1.
    rotation, scale : float
        Largest rotation in the axial plane, in degrees, and largest change of size along each
        axis, as a share. Both interpolate the image, which blurs volumes. If both are 0, nothing is
        interpolated.
    crop : list of int or None
        Size in voxels of a box around a random voxel of the foreground. The network sees only this
        box. With None, and during the validation, it sees the complete slice or volume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: float = Field(default=0.5, ge=0, le=1)
    rotation: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    crop: list[PositiveInt] | None = None

    @model_validator(mode="after")
    def _no_box_is_turned(self) -> Augmentation:
        if self.crop is not None and (self.rotation or self.scale):
            raise ValueError("a crop cannot be rotated or scaled: rotation and scale must be 0")
        return self


class TrainingSettings(BaseModel):
    """Settings of every training. Each method adds its own in a class that derives from this one.

    Parameters
    ----------
    method : str
        The name of a training method.
    target : str
        The modality that is learned. Only this modality and the sources are read.
    sources : list of str
        Other modalities, for methods that learn from them. One of them is drawn at random each time
        a training image is used.
    brain_only : bool or None
        Whether the training images are skull-stripped. With None it is measured on the images.
    grid, context : GridSettings, Context
        The sampling grid of the model, and the part of the volume that its network sees.
    planes : list of {"axial", "coronal", "sagittal"}
        The planes of the training slices, each with the grid's in-plane spacing. With an empty
        list, the grid's own plane is used.
    network : dict
        Name and arguments of the network, see `chiasm.networks.NetworkSettings`.
    augmentation : Augmentation
    anatomies : HeadSettings or None
        With it, the training folder holds label maps of heads with FreeSurfer labels, and the
        training images are random heads that are drawn from them (`chiasm.phantom.heads`). Half of
        the heads are mirrored, whatever ``augmentation.flip`` is.
    stages : dict
        For methods that are trained in stages, the settings of each stage. They replace the
        common settings.
    pretrained : str or None
        A model from which the training takes all weights that have the same names and shapes. A
        segmenter can begin with the weights of a translator.
    iterations, batch, learning_rate, weight_decay, warmup, clip
        Settings of AdamW with a warm-up and a cosine schedule. A stage of 0 iterations is skipped,
        and its weights are those of ``pretrained``.
    ema : float
        Decay of the exponential moving average of the weights. The model keeps the averaged
        weights. The decay rises to this value during the first iterations.
    precision : str
        A precision of Lightning. With ``"auto"`` it is bf16-mixed on GPUs and CPUs that compute in
        bfloat16, and 32-true on others, which imitate bfloat16 slowly. The model's configuration
        records which it was.
    checkpointing : bool
        Whether activations are computed again in the backward pass. This takes less memory and more
        time, and gives the same model.
    background_weight : float
        Weight of the voxels outside the foreground in the loss; those inside have weight 1.
    validation_share : float
        Share of the subjects that are used for validation; at least one subject is used.
    train_subjects, validation_subjects : list of str
        An explicit split, instead of a random one.
    validate_every, checkpoint_every : int
        Number of iterations between two validations, and between two checkpoints.
    seed : int
        Seed of the split, the first weights and every random number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    target: str = "T1w"
    sources: list[str] = []
    brain_only: bool | None = None
    grid: GridSettings = GridSettings(spacing=(2.0, 2.0, None))
    context: Context = Context()
    planes: list[Plane] = []
    network: dict[str, Any] = {}
    augmentation: Augmentation = Augmentation()
    anatomies: HeadSettings | None = None
    stages: dict[str, dict[str, Any]] = {}
    pretrained: str | None = None
    iterations: int = Field(default=4000, ge=0)
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: int = Field(default=100, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.995, ge=0, lt=1)
    precision: Literal["auto", "bf16-mixed", "32-true", "16-mixed"] = "auto"
    checkpointing: bool = False
    background_weight: float = Field(default=0.1, ge=0)
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    train_subjects: list[str] = []
    validation_subjects: list[str] = []
    validate_every: int = Field(default=500, ge=1)
    checkpoint_every: int = Field(default=250, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**30)

    @field_validator("train_subjects", "validation_subjects", mode="before")
    @classmethod
    def _are_names(cls, subjects: Any) -> Any:
        given = subjects if isinstance(subjects, list) else []
        if any(not isinstance(one, str) for one in given):
            raise ValueError("holds numbers; legal: names in quotes, such as ['sub-01']")
        return subjects

    @field_validator("target")
    @classmethod
    def _is_a_modality(cls, target: str) -> str:
        return modality_name(target, "target")

    @field_validator("sources")
    @classmethod
    def _are_modalities(cls, sources: list[str]) -> list[str]:
        names = [modality_name(name, "sources") for name in sources]
        if len({*names}) < len(names):
            raise ValueError("a source is named twice")
        return names

    @property
    def modalities(self) -> list[str]:
        """The target, then the sources. Indices of modalities refer to this order."""
        return [self.target, *self.sources]

    @property
    def known_sources(self) -> list[str]:
        """The source modalities that the finished model accepts; empty if it accepts any."""
        return self.sources

    def of_stage(self, name: str) -> Self:
        """The settings of one stage; an illegal one raises `UsageError`."""
        values = self.model_dump(mode="json")
        return _validated(type(self), merged(values, self.stages.get(name, {})))

    def for_model(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The settings that the finished model keeps, complete with defaults, for JSON."""
        kept = self.model_dump(mode="json", include=set(names))
        return {name: value for name, value in kept.items() if value is not None}

    def check(self) -> None:
        """Check the settings before any image is read.

        Raises
        ------
        UsageError
            The network is unknown, a subject is used for both training and validation, or the crop
            has more or fewer dimensions than the images that the network sees.
        """
        from chiasm.networks import NetworkSettings

        _validated(NetworkSettings, self.network, "network")
        if both := sorted({*self.train_subjects} & {*self.validation_subjects}):
            legal = "subjects that train_subjects does not name"
            raise UsageError(
                explain("validation_subjects", both, "is in train_subjects too", legal)
            )
        crop, dims = self.augmentation.crop, self.context.spatial_dims
        if crop is not None and len(crop) != dims:
            problem = f"has {len(crop)} numbers, and the context {self.context.kind} needs {dims}"
            legal = f"{dims} numbers of voxels, or null"
            raise UsageError(explain("augmentation.crop", crop, problem, legal))

    @property
    def grids(self) -> list[GridSettings]:
        """The sampling grids of the training slices, one for each plane."""
        return [self.grid.across(plane) for plane in self.planes] or [self.grid]


class ContrastTraining(TrainingSettings):
    """Settings of a training that changes the contrast or the quality of its images at random.

    Parameters
    ----------
    contrast : ContrastSettings
    """

    contrast: ContrastSettings = ContrastSettings()


class PlanesTraining(TrainingSettings):
    """Settings of a training whose finished model can run on slices of several planes.

    Parameters
    ----------
    inference_planes : {"axial", "coronal", "sagittal", "orthogonal"} or None
        The planes of the slices on which the finished model runs, if a run does not choose them.
        With "orthogonal", the result is the mean of all three planes. With None, the grid's own
        plane is used.
    """

    inference_planes: Planes | None = None

    def check(self) -> None:
        super().check()
        if self.inference_planes is not None and self.context.kind == "3d":
            problem = "does not apply to a model that sees whole volumes"
            raise UsageError(explain("inference_planes", self.inference_planes, problem, "null"))


class GuidedTraining(PlanesTraining):
    """Settings of a training whose network is conditioned on guides.

    Parameters
    ----------
    guides : list of dict
        Name and settings of each guide, see `chiasm.guides`.
    """

    guides: list[dict[str, Any]] = []

    def check(self) -> None:
        from chiasm.guides import guide_from_config

        super().check()
        for guide in self.guides:
            guide_from_config(guide).check(self.grid, self.context)


def objective_of(method: str, argument: str = "--method") -> Any:
    """The objective class of a training method; an unknown name raises `UsageError`."""
    if method in SEGMENTER_TRAININGS:
        return SEGMENTER_TRAININGS.load(method)
    trained = [name for name in METHODS if METHODS.load(name).objective is not None]
    if method not in trained:
        legal = ", ".join([*trained, *SEGMENTER_TRAININGS])
        raise UsageError(explain(argument, method, "is not a known training method", legal))
    return METHODS.load(method).load_objective()


def training_settings(
    method: str,
    target: str,
    config: Path | None = None,
    assignments: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
) -> TrainingSettings:
    """The settings of a training, from the method's defaults and a user's choices.

    A YAML file replaces defaults, and ``key=value`` assignments replace both. Mappings are merged,
    so a setting that the user does not name keeps its default. A list replaces the default
    completely. So does a mapping whose ``name`` differs from that of the default (such as
    ``network: {name: …}``), because its other settings belong to another object.

    Parameters
    ----------
    method, target : str
        Values of the command line. They replace those of the file.
    config : Path, optional
        A YAML mapping of the method's settings.
    assignments : tuple of str
        Dotted keys and YAML values, such as ``"batch=4"`` or
        ``"network.arguments.features=[16,16,32,64,128,16]"``.
    sources : tuple of str
        Values of the command line. If there are any, they replace those of the file.

    Raises
    ------
    UsageError
        A method or key is unknown, or a value is illegal.
    CaseError
        The config file cannot be read.
    """
    kind = objective_of(method)
    settings = kind.settings_class(method=method).model_dump(mode="json")
    if config is not None:
        try:
            read = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problem = f"cannot be read ({str(error).splitlines()[0]})"
            raise CaseError(explain("--config", config, problem, "a YAML file")) from None
        if not isinstance(read, dict):
            raise CaseError(explain("--config", config, "is not a mapping", "key: value lines"))
        settings = merged(settings, read)
    settings |= {"method": method, "target": target}
    if sources:
        settings["sources"] = list(sources)
    for assignment in assignments:
        settings = merged(settings, _assigned(settings, assignment))
    chosen = _validated(kind.settings_class, settings)
    chosen.check()
    if chosen.context.images > 1 and not kind.neighbours:
        problem = f"adds neighbouring slices, which {method} does not use"
        raise UsageError(explain("context.kind", chosen.context.kind, problem, "2d or 3d"))
    for name in chosen.stages:
        if name not in kind.stages:
            legal = ", ".join(kind.stages) or f"none, because {method} has no stages"
            raise UsageError(explain(f"stages.{name}", "", "is not a stage", legal))
        chosen.of_stage(name).check()
    return chosen


def merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; the values of ``over`` have precedence.

    A mapping whose ``name`` differs from that of the old mapping replaces it completely.
    """
    result = dict(values)
    for key, value in over.items():
        before = values.get(key)
        both = isinstance(value, dict) and isinstance(before, dict)
        other = both and "name" in value and value["name"] != before.get("name")  # type: ignore[union-attr]
        result[key] = merged(before, value) if both and not other else value  # type: ignore[arg-type]
    return result


def _validated(kind: type[_Settings], values: Any, part: str = "") -> _Settings:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(own := first.get("ctx", {}).get("error"), ChiasmError):
            raise UsageError(str(own)) from None
        key = ".".join(map(str, (part, *first["loc"]) if part else first["loc"]))
        value = "" if first["type"] == "missing" else first["input"]
        raise UsageError(explain(key, value, *illegal_setting(first, kind))) from None


def _assigned(settings: dict[str, Any], assignment: str) -> dict[str, Any]:
    """The nested mapping that ``a.b=value`` stands for."""
    key, equals, value = assignment.partition("=")
    *parents, last = key.split(".")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        equals = ""
    if not equals or not last:
        legal = "key=value, where the value is YAML"
        raise UsageError(explain("setting", assignment, "is not a setting", legal))
    known: Any = settings
    for parent in parents:
        known = known.get(parent) if isinstance(known, dict) else None
        known = {} if known is None else known
        if not isinstance(known, dict):
            problem = f"has a key below {parent}, which is not a mapping"
            legal = "dotted keys of nested mappings; a list is set as a whole"
            raise UsageError(explain("setting", assignment, problem, legal))
    result: dict[str, Any] = {last: parsed}
    for parent in reversed(parents):
        result = {parent: result}
    return result
