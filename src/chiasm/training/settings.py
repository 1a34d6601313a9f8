"""All that a training run can be told, in one place; a config file and ``key=value`` set it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

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

from chiasm.context import Context
from chiasm.errors import CaseError, ChiasmError, UsageError, explain
from chiasm.modality import modality_name
from chiasm.preparation import GridSettings, Plane
from chiasm.registry import OBJECTIVES

_Settings = TypeVar("_Settings", bound=BaseModel)


class Augmentation(BaseModel):
    """Random geometry of the training images.

    Parameters
    ----------
    flip : float
        Share of the samples that are mirrored left to right.
    rotation, scale : float
        In the axial plane by up to so many degrees; along every axis by up to this share. Both 0:
        samples keep their own voxels. Else they are interpolated, volumes linearly, which blurs.
    crop : list of int or None
        Voxels of a box about a random voxel of the head, all that is seen of a sample; None for
        the whole. Validation sees the whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: float = Field(default=0.5, ge=0, le=1)
    rotation: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    crop: list[PositiveInt] | None = None

    @model_validator(mode="after")
    def _no_box_is_turned(self) -> Augmentation:
        if self.crop is not None and (self.rotation or self.scale):
            raise ValueError("a crop has no voxels beyond it to turn in: rotation and scale are 0")
        return self


class AdversarialSettings(BaseModel):
    """What methods that train against critics are told besides.

    Parameters
    ----------
    critic : dict
        Arguments of `monai.networks.nets.PatchDiscriminator`, over the method's own.
    critic_rate : float
        The critics' learning rate, as a multiple of the run's.
    r1, r1_every : float, int
        Weight γ of the gradient penalty, and every how many iterations on average (stylegan).
    noise : float
        Deviation of the noise that the critic sees every image through (stylegan): without it,
        what is not exactly 0 around a head gives each generated image away.
    cycle, identity : float
        Weights of these losses, as shares of the adversarial one's (cyclegan).
    pool : int
        Generated images that each critic is shown again (cyclegan).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    critic: dict[str, Any] = {}
    critic_rate: float = Field(default=1.0, gt=0)
    r1: float = Field(default=1.0, ge=0)
    r1_every: int = Field(default=16, ge=1)
    noise: float = Field(default=0.0, ge=0)
    cycle: float = Field(default=10.0, ge=0)
    identity: float = Field(default=5.0, ge=0)
    pool: int = Field(default=50, ge=1)


class LatentLosses(BaseModel):
    """Weights of the losses that lead to a latent (aldm); 0 switches one off.

    Parameters
    ----------
    reconstruction : float
        Mean absolute error of there and back.
    quantisation : float
        Of the commitment to the codes.
    adversarial : float
        What a patch critic thinks of there and back.
    perceptual : float
        Mean absolute difference of that critic's features: no weights are downloaded, and none
        fit volumes of one channel.
    cycle : float
        There and back between modalities, in the latent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reconstruction: float = Field(default=1.0, ge=0)
    quantisation: float = Field(default=1.0, ge=0)
    adversarial: float = Field(default=0.01, ge=0)
    perceptual: float = Field(default=0.1, ge=0)
    cycle: float = Field(default=0.5, ge=0)


class TrainingSettings(BaseModel):
    """A training run.

    Parameters
    ----------
    method : str
        A registered training method.
    target : str
        The one modality that is read, but for the sources.
    sources : list of str
        Other modalities that are read, for the methods that learn from them; each training sample
        draws one.
    grid, context, network, guides, calibration, latent, diffusion, inversion, detail, contrast
        Of the model; see the classes of these names.
    planes : list of {"axial", "coronal", "sagittal"}
        Whose slices are trained on, each at the grid's in-plane spacing; empty for the grid's own.
    augmentation : Augmentation
    adversarial : AdversarialSettings
    losses : LatentLosses
    all_targets : bool
        Whether what comes before diffusion learns all targets at once, from one source modality for
        each batch; without a cycle (aldm).
    any_contrast : float
        Share of the samples whose source is the target under a random contrast (aldm).
    error : {"absolute", "squared"}
        Of what is made in the latent (aldm). Where the source does not tell, the least absolute
        error, which the published systems train by, is the median of what may be there: a bright
        tissue fades. The least squared one is the mean.
    stages : dict
        Of methods that train in stages: a stage's name → its settings, over all others.
    pretrained : str or None
        A model whose weights of the same names and shapes training begins with.
    iterations, batch, learning_rate, weight_decay, warmup, clip
        Of AdamW under a warm-up and a cosine. A stage of 0 iterations is left out: its weights are
        those of ``pretrained``.
    ema : float
        Decay of the averaged weights that are kept; it rises to this from the first iteration.
    precision : str
        As Lightning names it; bf16-mixed is fast on CPUs with AMX and on GPUs.
    checkpointing : bool
        Recompute activations in the backward pass: less memory, more time, the same model.
    guide_dropout : float
        Share of the samples whose guides are dropped (diffusion).
    late : float
        Bias of the sampled times towards noise: density ∝ t^(late − 1); 1 is uniform (diffusion).
    min_snr : float or None
        γ of min-SNR weighting, 5 in its paper; None weighs all times alike (diffusion).
    merge_labels : dict
        Label value → the value it counts as (segmenter).
    background_weight : float
        Weight of voxels outside the head in the loss; those inside have 1.
    validation_share : float
        Share of the subjects, at least one, kept for validation.
    train_subjects, validation_subjects : list of str
        An explicit split, in place of the drawn one.
    validate_every, checkpoint_every : int
        In iterations.
    seed : int
        Of the split, the weights, and every draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    target: str = "T1w"
    sources: list[str] = []
    brain_only: bool = True
    grid: GridSettings = GridSettings(spacing=(2.0, 2.0, None))
    context: Context = Context()
    planes: list[Plane] = []
    network: dict[str, Any] = {}
    guides: list[dict[str, Any]] = []
    calibration: dict[str, Any] | None = None
    latent: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}
    inversion: dict[str, Any] = {}
    detail: dict[str, Any] | None = None
    contrast: dict[str, Any] = {}
    augmentation: Augmentation = Augmentation()
    adversarial: AdversarialSettings = AdversarialSettings()
    losses: LatentLosses = LatentLosses()
    all_targets: bool = False
    any_contrast: float = Field(default=0.0, ge=0, le=1)
    error: Literal["absolute", "squared"] = "absolute"
    stages: dict[str, dict[str, Any]] = {}
    pretrained: str | None = None
    iterations: int = Field(default=4000, ge=0)
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: int = Field(default=100, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.995, ge=0, lt=1)
    precision: Literal["bf16-mixed", "32-true", "16-mixed"] = "bf16-mixed"
    checkpointing: bool = False
    guide_dropout: float = Field(default=0.1, ge=0, lt=1)
    late: float = Field(default=1.0, ge=1)
    min_snr: float | None = Field(default=None, gt=0)
    merge_labels: dict[int, int] = {4: 3}
    background_weight: float = Field(default=0.1, ge=0)
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    train_subjects: list[str] = []
    validation_subjects: list[str] = []
    validate_every: int = Field(default=500, ge=1)
    checkpoint_every: int = Field(default=250, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**30)

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

    @model_validator(mode="after")
    def _all_targets_know_no_cycle(self) -> TrainingSettings:
        if self.all_targets and self.losses.cycle:
            raise ValueError("all_targets knows no way back: losses.cycle is 0")
        return self

    @property
    def modalities(self) -> list[str]:
        """The target, then the sources: how methods that make several count them."""
        return [self.target, *self.sources]

    def of_stage(self, name: str) -> TrainingSettings:
        """The settings of one stage; illegal ones raise `UsageError`."""
        values = self.model_dump(mode="json")
        return _validated(TrainingSettings, _merged(values, self.stages.get(name, {})))

    @property
    def grids(self) -> list[GridSettings]:
        """The lattices that training slices are cut on, one for each plane."""
        return [self.grid.across(plane) for plane in self.planes] or [self.grid]


def training_settings(
    method: str,
    target: str,
    config: Path | None = None,
    assignments: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
) -> TrainingSettings:
    """The method's defaults, under a YAML file, under ``key=value`` assignments.

    Parameters
    ----------
    method, target : str
        What the command line says; they win over the file.
    config : Path, optional
        A YAML mapping of `TrainingSettings`.
    assignments : tuple of str
        ``"batch=4"``, ``"network.arguments.features=[16,16,32,64,128,16]"``: dotted keys, YAML
        values.
    sources : tuple of str
        What the command line says, if anything; they win over the file.

    Raises
    ------
    UsageError
        Unknown method or key, or an illegal value.
    CaseError
        A config file that cannot be read.
    """
    kind = OBJECTIVES.load(method, "--method")
    settings = dict(kind.defaults)
    if config is not None:
        try:
            read = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problem = f"cannot be read ({str(error).splitlines()[0]})"
            raise CaseError(explain("--config", config, problem, "a YAML file")) from None
        if not isinstance(read, dict):
            raise CaseError(explain("--config", config, "is not a mapping", "key: value lines"))
        settings |= read
    settings |= {"method": method, "target": target}
    if sources:
        settings["sources"] = list(sources)
    for assignment in assignments:
        _assign(settings, assignment)
    chosen = _validated(TrainingSettings, settings)
    _check_parts(chosen)
    if chosen.context.images > 1 and not kind.neighbours:
        problem = f"shows neighbouring slices, which {method} does not look at"
        raise UsageError(explain("context.kind", chosen.context.kind, problem, "2d or 3d"))
    for name in chosen.stages:
        if name not in kind.stages:
            legal = ", ".join(kind.stages) or f"none: {method} trains in one"
            raise UsageError(explain(f"stages.{name}", "", "is no stage", legal))
        _check_parts(chosen.of_stage(name))
    return chosen


def _merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings, one over the other."""
    merged = dict(values)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict)
        merged[key] = _merged(values[key], value) if both else value
    return merged


def _validated(kind: type[_Settings], values: Any, part: str = "") -> _Settings:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(own := first.get("ctx", {}).get("error"), ChiasmError):
            raise UsageError(str(own)) from None
        key = ".".join(map(str, (part, *first["loc"]) if part else first["loc"]))
        legal = f"the settings are {', '.join(kind.model_fields)}"
        raise UsageError(explain(key, first.get("input"), first["msg"], legal)) from None


def _check_parts(chosen: TrainingSettings) -> None:
    """Refuse what the model could not be trained or run with, before any image is read."""
    from chiasm.diffusion.denoiser import DiffusionSettings
    from chiasm.diffusion.latent import LatentSettings
    from chiasm.guides import guide_from_config
    from chiasm.guides.calibration import CalibrationSettings
    from chiasm.guides.randomise import ContrastSettings
    from chiasm.networks import NetworkSettings
    from chiasm.translators.detail import DetailSettings
    from chiasm.translators.inversion import InversionSettings

    _validated(NetworkSettings, chosen.network, "network")
    _validated(ContrastSettings, chosen.contrast, "contrast")
    if chosen.calibration is not None:
        _validated(CalibrationSettings, chosen.calibration, "calibration")
    _validated(InversionSettings, chosen.inversion, "inversion")
    _validated(LatentSettings, chosen.latent, "latent")
    if chosen.detail is not None:
        _validated(DetailSettings, chosen.detail, "detail")
    diffusion = _validated(DiffusionSettings, chosen.diffusion, "diffusion")
    diffusion.schedule.scheduler(diffusion.scheduler, diffusion.parameterisation)
    crop, dims = chosen.augmentation.crop, chosen.context.spatial_dims
    if crop is not None and len(crop) != dims:
        problem = f"is no box of samples that are {chosen.context.kind}"
        legal = f"{dims} numbers of voxels, or null"
        raise UsageError(explain("augmentation.crop", crop, problem, legal))
    for guide in chosen.guides:
        guide_from_config(guide).check(chosen.grid, chosen.context)


def _assign(settings: dict[str, Any], assignment: str) -> None:
    key, equals, value = assignment.partition("=")
    *parents, last = key.split(".")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        equals = ""
    if not equals or not last:
        raise UsageError(explain("setting", assignment, "is not one", "key=value, YAML values"))
    place: Any = settings
    for parent in parents:
        inner = place.get(parent, {}) if isinstance(place, dict) else None
        if not isinstance(inner, dict):
            legal = "dotted keys that lead through mappings; set lists whole"
            raise UsageError(explain("setting", assignment, "leads nowhere", legal))
        place[parent] = dict(inner)
        place = place[parent]
    place[last] = parsed
