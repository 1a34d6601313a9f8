"""One training run, from a folder of scans to a model folder."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeAlias

import numpy as np
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from pydantic import BaseModel
from torch import Tensor
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader

from chiasm import files, models
from chiasm.cost import forget_peak, memory_is, peak_mb
from chiasm.device import resolve_device
from chiasm.errors import CaseError, UsageError, explain
from chiasm.guides.calibration import CalibrationSettings
from chiasm.intensity import IntensityMap
from chiasm.networks.checkpointing import checkpoint_blocks
from chiasm.networks.small_convolutions import small_convolutions_in_float32
from chiasm.progress import Advance, progress
from chiasm.registry import OBJECTIVES
from chiasm.training.card import card
from chiasm.training.data import Batches, Subject
from chiasm.training.gathering import Gathering
from chiasm.training.objective import Objective
from chiasm.training.pretrained import begin_with, continue_from
from chiasm.training.settings import TrainingSettings
from chiasm.training.sources import check_sources
from chiasm.translators.detail import DetailSettings

# Of a config and its networks: gives them their first weights, and says in words which.
_Begin: TypeAlias = Callable[[models.ModelConfig, Any], str | None]

_CHECKPOINT = "last.ckpt"
_SETTINGS = "training.yaml"
_VALIDATION_BATCHES = 4


class _Progress(Callback):
    """Shows finished iterations; seconds and memory at the peak of all parts of a resumed run."""

    def __init__(self, advance: Advance, device: str, start: float) -> None:
        self.advance, self.device = advance, device
        self.start = start
        self.earlier = 0.0  # MiB
        forget_peak(device)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def memory_mb(self) -> float:
        return max(self.earlier, peak_mb(self.device))

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "memory_mb": self.memory_mb}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start -= state_dict["seconds"]
        self.earlier = state_dict.get("memory_mb", 0.0)

    def on_train_batch_end(self, *_: Any) -> None:
        self.advance(1)


class _Averaging(WeightAveraging):
    """Averaged weights, which validation runs on; a break within it puts the others back first.

    What does not change (a frozen network) stays as it is to the last bit.
    """

    _swapped = False

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=_average(decay))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)


def _average(decay: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """A moving average whose decay rises to the given one: (1 + n) / (10 + n) at the n-th.

    Under a constant decay a short training's average would mostly be the weights it began with.
    """

    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        return torch.where(averaged == current, current, get_ema_avg_fn(now)(averaged, current, 0))

    return average


def train(
    folder: Path,
    output: Path,
    settings: TrainingSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> models.ModelConfig:
    """Train a model and write its folder.

    Parameters
    ----------
    folder : Path
        Scans of the target modality, one folder or name for each subject, and of the sources if
        the method learns from them; no other is opened.
    output : Path
        The model's folder; settings, log and the checkpoint lie beside the weights.
    settings : TrainingSettings
    resume : bool
        Go on from the output folder's checkpoint; the result is that of a run never broken off.
    overwrite : bool
        Start anew where the output holds a model or a checkpoint.
    device : str
        As in `chiasm.device.resolve_device`.

    Raises
    ------
    CaseError
        Fewer than two subjects, unreadable images, an output that exists, nothing to resume, a
        checkpoint of other settings, a loss that is not finite; or broken off by Ctrl-C.
    UsageError
        Illegal settings, sources that the method lacks or does not read.
    """
    kind = OBJECTIVES.load(settings.method, "--method")
    check_sources(kind, settings)
    device_of = resolve_device(device)
    begin, gathering = _pretrained(settings, kind), Gathering(folder)
    if not kind.stages:
        _check_output(output, resume=resume, overwrite=overwrite)
        return _run(gathering, output, settings, kind, device_of, resume=resume, begin=begin)
    # The last stage's model is the method's; the others' lie in folders of their own below it.
    stages = {name: one for name, one in kind.stages.items() if one.applies(settings)}
    places = {name: output if one is kind else output / name for name, one in stages.items()}
    for place in places.values():
        _check_output(place, resume=resume, overwrite=overwrite)
    if resume and not any((place / _SETTINGS).exists() for place in places.values()):
        problem = "holds no stage that was begun"
        legal = f"the folder of an interrupted run, with {next(iter(places))} in it"
        raise CaseError(explain("--resume", output, problem, legal))
    config: models.ModelConfig | None = None
    earlier: dict[str, Any] = {}
    every = [settings.of_stage(name) for name in stages]
    for name, objective in stages.items():
        place, chosen = places[name], settings.of_stage(name)
        if not chosen.iterations:
            continue
        if resume and (place / models.CONFIG).exists():
            _check_settings(place, chosen)
        else:
            # What is begun anew is not done, whatever lies there from before.
            (place / models.CONFIG).unlink(missing_ok=True)
            begun = resume and (place / _CHECKPOINT).exists()
            told: dict[str, Any] = {"stage": name, "begin": begin, "earlier": earlier}
            _run(gathering, place, chosen, objective, device_of, resume=begun, every=every, **told)
        model = models.load(place, kind=kind.kind, argument="-o")
        begin, config = partial(continue_from, model), model.config
        earlier[name] = {key: config.training.get(key) for key in ("seconds", "memory_mb")}
    assert config is not None  # the last stage is trained
    return config


def _pretrained(settings: TrainingSettings, kind: type[Objective]) -> _Begin | None:
    """What gives the networks another model's weights, if the settings name one.

    Stages may be left out from the first on, if it has their weights.
    """
    stages = kind.stages or {"": kind}
    trained = {
        name: settings.of_stage(name).iterations > 0
        for name, one in stages.items()
        if one.applies(settings)
    }
    idle = [name for name, does in trained.items() if not does]
    if idle and (settings.pretrained is None or idle == list(trained)):
        name = ".".join(filter(None, ("stages" if idle[0] else "", idle[0], "iterations")))
        problem = "leaves weights untrained that nothing else provides"
        legal = "at least 1; 0 for a stage before the last whose weights are in pretrained"
        raise UsageError(explain(name, 0, problem, legal))
    if idle != list(trained)[: len(idle)]:
        problem = "would keep weights that belong to another stage before it"
        legal = "at least 1, or 0 for the stages before it too"
        raise UsageError(explain(f"stages.{idle[-1]}.iterations", 0, problem, legal))
    if settings.pretrained is None:
        return None
    model = models.load(settings.pretrained, kind=kind.kind, argument="pretrained")
    return partial(begin_with, model, complete=[stages[name].trained for name in idle])


def _run(
    gathering: Gathering,
    output: Path,
    settings: TrainingSettings,
    kind: type[Objective],
    device: torch.device,
    *,
    resume: bool,
    stage: str = "",
    begin: _Begin | None = None,
    earlier: Mapping[str, Any] | None = None,
    every: Sequence[TrainingSettings] = (),
) -> models.ModelConfig:
    """Train as `train` says, for one objective.

    ``earlier`` is what the stages before it cost, ``every`` the settings of all stages, so that
    one is not refused when others have been trained.
    """
    checkpoint = output / _CHECKPOINT if resume else None
    state = _resumable(checkpoint, settings) if checkpoint else None
    before = 0 if state is None else int(state["global_step"])
    subjects = gathering.subjects(settings, kind)

    seed_everything(settings.seed, verbose=False)
    labels = _labels(subjects.train[0], settings)
    unit = IntensityMap(low=0, high=1, units="", background=0)
    draft = _config(settings, kind, labels, dict.fromkeys(settings.modalities, unit), {}, {})
    module = models.build(draft)
    taken = None if begin is None else begin(draft, module)
    objective = kind(settings, module)
    values = tuple(label.value for label in draft.labels)
    multiple = module.divisible_by
    both = gathering.samples(settings, kind, subjects, divisible_by=multiple, values=values)
    samples, held_out = both.train, both.validation
    for one in every or [settings]:
        samples.check(one.augmentation)

    size = max(settings.batch, kind.first_samples)
    objective.begin(samples.batch(size, (settings.seed, 0), None))
    training = objective.runner(objective)
    small_convolutions_in_float32(training)
    if state is not None:  # what is surveyed with is what goes on
        training.load_state_dict(state["state_dict"])
    start = time.monotonic()
    if before < settings.iterations:
        objective.survey(samples, device)
    if settings.checkpointing and not checkpoint_blocks(training):
        problem = f"would change nothing: {settings.method} has no network that can do it"
        raise UsageError(explain("checkpointing", True, problem, "false"))

    output.mkdir(parents=True, exist_ok=True)
    written = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    files.write_text(output / _SETTINGS, written, overwrite=True)
    if checkpoint is None:  # that of another run must not be resumed as if it were this one's
        (output / _CHECKPOINT).unlink(missing_ok=True)
    title = f"train {settings.method} {stage}".rstrip()
    with progress(title, settings.iterations, before) as advance:
        shown = _Progress(advance, str(device), start)
        trainer = _trainer(settings, output, device, shown)
        batches = Batches(samples, settings, start=lambda: trainer.global_step)
        held: Any = [
            held_out.batch(settings.batch, (settings.seed, 2**31 + k), None)
            for k in range(_VALIDATION_BATCHES)
        ]
        judged = DataLoader(held, batch_size=None)
        try:
            if state is None or before < settings.iterations:
                trainer.fit(
                    training,
                    train_dataloaders=DataLoader(batches, batch_size=None),
                    val_dataloaders=judged,
                    ckpt_path=checkpoint,
                    weights_only=True,
                )
            else:  # all was done but the writing of the model
                shown.load_state_dict(state["callbacks"][shown.state_key])
        except SystemExit:  # what Lightning makes of Ctrl-C, which it also silences
            signal.signal(signal.SIGINT, signal.default_int_handler)
            problem = "was interrupted; its checkpoint is kept"
            raise CaseError(explain("-o", output, problem, "--resume to go on")) from None
        except FloatingPointError as error:
            legal = "a smaller learning_rate, or precision=32-true"
            raise CaseError(explain("-o", output, str(error), legal)) from None
    (scores,) = trainer.validate(training, judged, verbose=False)
    facts = {
        "settings": settings.model_dump(mode="json"),
        "subjects": {
            "train": len({one.name for one in subjects.train}),
            "validation": len({one.name for one in subjects.validation}),
        },
        "samples": len(samples),
        "pretrained": taken,
        "earlier": dict(earlier or {}),
        "validation_loss": scores["validation_loss"],
        "seconds": round(shown.seconds),
        "memory_mb": round(shown.memory_mb),
        "memory": memory_is(str(device)),
        "device": str(device),
        "torch": torch.__version__,
    }
    maps = {name: _mean_map(found) for name, found in samples.maps.items()}
    config = _config(objective.settings, kind, labels, maps, samples.quantiles, facts)
    if config.guides:  # with all their settings, and the networks that they named
        config = config.model_copy(update={"guides": module.guides.record()})
    models.save(output, config, module, card(config, output.name))
    return config


def _check_output(output: Path, *, resume: bool, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise CaseError(explain("-o", output, "is a file", "a folder, new or to be overwritten"))
    exists = (output / _CHECKPOINT).exists() or (output / models.CONFIG).exists()
    if exists and not (resume or overwrite):
        legal = "a new folder, --resume to go on, or --overwrite to start anew"
        raise CaseError(explain("-o", output, "already holds a model", legal))


def _check_settings(folder: Path, settings: TrainingSettings) -> None:
    """Refuse to go on with a run of other settings."""
    written = folder / _SETTINGS
    try:
        before = TrainingSettings.model_validate(yaml.safe_load(written.read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        legal = "the file as it was written"
        raise CaseError(explain("--resume", written, "is damaged", legal)) from None
    changed = [
        key
        for key in TrainingSettings.model_fields
        # What its own stage says is among the others; what later ones say does not touch it.
        if key != "stages" and getattr(before, key) != getattr(settings, key)
    ]
    if changed:
        problem = f"was started with other settings ({', '.join(changed)})"
        raise CaseError(explain("--resume", folder, problem, f"those in {_SETTINGS}"))


def _resumable(checkpoint: Path, settings: TrainingSettings) -> dict[str, Any]:
    """What the checkpoint holds, if it is whole and of a run of the same settings."""
    legal = f"the folder of an interrupted run, with {_SETTINGS} and {_CHECKPOINT}"
    for path in (checkpoint, checkpoint.with_name(_SETTINGS)):
        if not path.is_file():
            raise CaseError(explain("--resume", path, "does not exist", legal))
    _check_settings(checkpoint.parent, settings)
    try:
        return torch.load(checkpoint, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, UnpicklingError):
        raise CaseError(explain("--resume", checkpoint, "is damaged", legal)) from None


def _trainer(
    settings: TrainingSettings, output: Path, device: torch.device, shown: _Progress
) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    return Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=settings.precision,
        max_steps=settings.iterations,
        max_epochs=-1,
        gradient_clip_val=settings.clip,
        val_check_interval=min(settings.validate_every, settings.iterations),
        num_sanity_val_steps=0,
        logger=CSVLogger(output, name="", version="log"),
        log_every_n_steps=10,
        callbacks=[
            _Averaging(decay=settings.ema),
            ModelCheckpoint(
                output,
                filename=Path(_CHECKPOINT).stem,
                every_n_train_steps=settings.checkpoint_every,
                save_on_exception=True,
                enable_version_counter=False,
            ),
            shown,
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _labels(subject: Subject, settings: TrainingSettings) -> list[models.LabelSettings]:
    """The structures of a label map's table, less those that count as another."""
    if subject.labels is None:
        return []
    table = files.read_labels(subject.labels).labels
    return [
        models.LabelSettings(**vars(one)) for one in table if one.value not in settings.merge_labels
    ]


def _mean_map(maps: list[IntensityMap]) -> IntensityMap:
    """The target's own scale: the median over the training subjects of what 0 and 1 mean."""
    middle = {
        key: float(np.median([getattr(one, key) for one in maps]))
        for key in ("low", "high", "background")
    }
    return IntensityMap(**middle, units=maps[0].units)


def _config(
    settings: TrainingSettings,
    kind: type[Objective],
    labels: list[models.LabelSettings],
    maps: Mapping[str, IntensityMap],
    quantiles: Mapping[str, list[np.ndarray]],
    facts: dict[str, Any],
) -> models.ModelConfig:
    """The model's config; ``maps`` and ``quantiles`` are by modality."""
    translator = kind.kind == "translator"
    scales = {
        name: models.Scale(
            intensity=maps[name],
            quantiles=np.mean(quantiles[name], axis=0).round(4).tolist() if quantiles else [],
        )
        for name in settings.modalities
        if name in maps
    }
    any_to_any = kind.with_source == "any"
    return models.ModelConfig(
        kind=kind.kind,
        method=kind.method,
        target=settings.target,
        sources=_known_sources(settings, any_to_any),
        targets=scales if any_to_any else {},
        any_contrast=kind.any_contrast,
        brain_only=settings.brain_only,
        grid=settings.grid,
        context=settings.context,
        network=settings.network,
        guides=settings.guides if translator else [],
        calibration=_whole(CalibrationSettings, settings.calibration) if translator else None,
        latent=settings.latent or None,
        diffusion=settings.diffusion if settings.diffusion and translator else None,
        inversion=settings.inversion if settings.inversion and translator else None,
        detail=_whole(DetailSettings, settings.detail) if translator else None,
        intensity=scales[settings.target].intensity if translator else None,
        quantiles=scales[settings.target].quantiles if translator else [],
        labels=labels,
        training=facts,
    )


def _known_sources(settings: TrainingSettings, any_to_any: bool) -> list[str]:
    """The modalities that it takes; any, if it learned random contrasts too."""
    if not any_to_any:
        return settings.sources
    return [] if settings.any_contrast else settings.modalities


def _whole(kind: type[BaseModel], given: dict[str, Any] | None) -> dict[str, Any] | None:
    """All its settings: a model must not change with the defaults of the code."""
    return None if given is None else kind.model_validate(given).model_dump(mode="json")
