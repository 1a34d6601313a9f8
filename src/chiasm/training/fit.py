"""Runs one training and writes the model folder."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader

from chiasm import files, models
from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.intensity import IntensityMap
from chiasm.image.volume import TISSUES, Label
from chiasm.machine.allocator import keep_freed_memory
from chiasm.machine.cost import forget_peak, memory_is, peak_mb
from chiasm.machine.device import fast_precision, resolve_device
from chiasm.machine.progress import Advance, hide_progress, progress
from chiasm.networks.checkpointing import checkpoint_blocks
from chiasm.networks.small_convolutions import small_convolutions_in_float32
from chiasm.registry import METHODS, SEGMENTERS
from chiasm.training.card import card
from chiasm.training.data import Batches
from chiasm.training.data_module import DataModule, Split
from chiasm.training.objective import Objective
from chiasm.training.pretrained import begin_with, continue_from
from chiasm.training.settings import TrainingSettings, objective_of
from chiasm.training.several_devices import Process, check_devices, strategy, this_process
from chiasm.training.sources import check_sources

# Gives the networks of a config their first weights and returns a description of them.
_Begin: TypeAlias = Callable[[models.ModelConfig, Any], str | None]

_CHECKPOINT = "last.ckpt"
_SETTINGS = "training.yaml"
_VALIDATION_BATCHES = 4


class _Machine(NamedTuple):
    """The device that a process of a training computes on."""

    device: torch.device
    process: Process


class _Progress(Callback):
    """Shows the progress; time and peak memory include the earlier parts of a resumed run."""

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
    """Averages the weights. The validation uses the averaged weights.

    An interruption during the validation first restores the weights of the training. Weights that
    do not change (a frozen network) stay exactly the same.
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
    """A moving average whose decay rises to the given one: (1 + n) / (10 + n) at iteration n.

    With a constant decay, the average of a short training would mostly be its first weights.
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
    devices: int = 1,
) -> models.ModelConfig:
    """Train a model and write its folder.

    Parameters
    ----------
    folder : Path
        Scans of the target, one folder or name for each subject, and of the sources if the method
        learns from them. No other scan is opened.
    output : Path
        The model folder. It also holds the settings, the log and the checkpoint.
    settings : TrainingSettings
    resume : bool
        Continue from the checkpoint in the output folder. The result equals that of a run without
        an interruption.
    overwrite : bool
        Start again if the output folder holds a model or a checkpoint.
    device : str
        As in `chiasm.machine.device.resolve_device`.
    devices : int
        Number of GPUs, or of processes on the CPU, that share each batch. Lightning starts the same
        command once more for each further device. The result depends on their number.

    Raises
    ------
    CaseError
        There are fewer than two subjects, an image cannot be read, the output exists, there is
        nothing to resume, the checkpoint has other settings, the loss is not finite, or Ctrl-C was
        pressed.
    UsageError
        A setting is illegal, the sources are missing or not used, or there are fewer devices.
    """
    kind = objective_of(settings.method)
    check_sources(kind, settings)
    device_of = resolve_device(device)
    check_devices(devices, settings.batch, device_of)
    on = _Machine(device_of, this_process(devices))
    if not on.process.is_first:
        hide_progress()
    keep_freed_memory()
    for name, objective in (kind.stages or {"": kind}).items():
        if objective.applies(settings):
            own_settings = settings.of_stage(name) if name else settings
            check_devices(devices, own_settings.batch, device_of)
            _check_network(own_settings, objective)
    begin, data = _pretrained(settings, kind), DataModule(folder)
    stages = {name: one for name, one in kind.stages.items() if one.applies(settings)}
    if len(stages) < 2:
        _check_output(output, resume=resume, overwrite=overwrite)
        only, objective = next(iter(stages.items()), ("", kind))
        chosen = settings.of_stage(only) if only else settings
        return _run(data, output, chosen, objective, on, resume=resume, begin=begin)
    # The model of the last stage is the method's model. Each other stage has a folder below it.
    last = [*stages][-1]
    folders = {name: output if name == last else output / name for name in stages}
    for own in folders.values():
        _check_output(own, resume=resume, overwrite=overwrite)
    if resume and not any((own / _SETTINGS).exists() for own in folders.values()):
        problem = "holds no stage that was started"
        legal = f"the folder of an interrupted run, with {next(iter(folders))} in it"
        raise CaseError(explain("--resume", output, problem, legal))
    config: models.ModelConfig | None = None
    earlier: dict[str, Any] = {}
    every = [settings.of_stage(name) for name in stages]
    for name, objective in stages.items():
        own, chosen = folders[name], settings.of_stage(name)
        if not chosen.iterations:
            continue
        if resume and (own / models.CONFIG).exists():
            _check_settings(own, chosen)
        else:
            # A config marks a finished stage, so that of an earlier run is deleted.
            if on.process.is_first:
                (own / models.CONFIG).unlink(missing_ok=True)
            begun = resume and (own / _CHECKPOINT).exists()
            told: dict[str, Any] = {"stage": name, "begin": begin, "earlier": earlier}
            _run(data, own, chosen, objective, on, resume=begun, every=every, **told)
        model = models.load(own, kind=kind.kind, argument="-o")
        begin = partial(continue_from, model, shared=kind.shared_settings)
        config = model.config
        earlier[name] = {key: config.training.get(key) for key in ("seconds", "memory_mb")}
    assert config is not None  # the last stage is always trained
    return config


def _pretrained(settings: TrainingSettings, kind: type[Objective]) -> _Begin | None:
    """The function that takes the weights of ``settings.pretrained``; None if there is none.

    The first stages can be skipped if that model has their weights.
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
        problem = "leaves weights untrained, and no pretrained model provides them"
        legal = "at least 1, or 0 for an earlier stage whose weights are in pretrained"
        raise UsageError(explain(name, 0, problem, legal))
    if idle != list(trained)[: len(idle)]:
        problem = "keeps weights that do not fit the newly trained stage before it"
        legal = "at least 1, or 0 for all stages before it too"
        raise UsageError(explain(f"stages.{idle[-1]}.iterations", 0, problem, legal))
    if settings.pretrained is None:
        return None
    model = models.load(settings.pretrained, kind=None, argument="pretrained")
    return partial(begin_with, model, complete=[stages[name].trained for name in idle])


def _draft(
    settings: TrainingSettings, kind: type[Objective], labels: list[Label]
) -> models.ModelConfig:
    """The config of a model whose intensities are not measured yet."""
    unit = IntensityMap(low=0, high=1, units="", background=0)
    return _config(settings, kind, labels, dict.fromkeys(settings.modalities, unit), {}, {})


def _check_network(settings: TrainingSettings, kind: type[Objective]) -> None:
    """Build the network once for two structures, so that it is refused before any scan is read."""
    labels = [Label(value, str(value), "#000000") for value in (0, 1)]
    models.build(_draft(settings, kind, labels))


def _run(
    data: DataModule,
    output: Path,
    settings: TrainingSettings,
    kind: type[Objective],
    on: _Machine,
    *,
    resume: bool,
    stage: str = "",
    begin: _Begin | None = None,
    earlier: Mapping[str, Any] | None = None,
    every: Sequence[TrainingSettings] = (),
) -> models.ModelConfig:
    """Train one objective, see `train`.

    ``earlier`` holds the cost of the earlier stages. ``every`` holds the settings of all stages,
    which are all checked before the first one is trained.
    """
    device, process = on.device, on.process
    checkpoint = output / _CHECKPOINT if resume else None
    state = _resumable(checkpoint, settings) if checkpoint else None
    before = 0 if state is None else int(state["global_step"])
    subjects = data.subjects(settings, kind)

    seed_everything(settings.seed, verbose=False)
    found = _structures(subjects) if settings.anatomies is None else list(TISSUES)
    labels, channels = kind.structures(settings, found if kind.with_labels else [])
    draft = _draft(settings, kind, labels)
    module = models.build(draft)
    taken = None if begin is None else begin(draft, module)
    objective = kind(settings, module)
    multiple = module.divisible_by
    both = data.samples(settings, kind, subjects, divisible_by=multiple, channels=channels)
    samples, held_out = both.train, both.validation
    for one in every or [settings]:
        samples.check(one.augmentation)

    size = max(settings.batch, kind.first_samples)
    objective.begin(samples.batch(size, (settings.seed, 0), None))
    training = objective.runner(objective, process)
    small_convolutions_in_float32(training)
    if state is not None:  # `survey` needs the weights of the checkpoint
        training.load_state_dict(state["state_dict"])
    start = time.monotonic()
    if before < settings.iterations:
        objective.survey(samples, device)
    if settings.checkpointing and not checkpoint_blocks(training):
        problem = f"would change nothing, because no network of {settings.method} supports it"
        raise UsageError(explain("checkpointing", True, problem, "false"))

    if process.is_first:
        output.mkdir(parents=True, exist_ok=True)
        written = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        files.write_text(output / _SETTINGS, written, overwrite=True)
        if checkpoint is None:  # a checkpoint of an earlier run must not be resumed later
            (output / _CHECKPOINT).unlink(missing_ok=True)
    title = f"train {settings.method} {stage}".rstrip()
    with progress(title, settings.iterations, before) as advance:
        shown = _Progress(advance, str(device), start)
        trainer = _trainer(settings, output, on, shown, in_stages=bool(stage))
        batches = Batches(samples, settings, start=lambda: trainer.global_step, process=process)
        held: Any = [
            held_out.batch(settings.batch, (settings.seed, 2**31 + k), None)
            for k in range(_VALIDATION_BATCHES)
        ]
        validation = DataLoader(held, batch_size=None)
        try:
            if state is None or before < settings.iterations:
                trainer.fit(
                    training,
                    train_dataloaders=DataLoader(batches, batch_size=None),
                    val_dataloaders=validation,
                    ckpt_path=checkpoint,
                    weights_only=True,
                )
            else:  # only the model had not been written
                shown.load_state_dict(state["callbacks"][shown.state_key])
        except SystemExit:  # Lightning raises it at Ctrl-C and then ignores Ctrl-C
            signal.signal(signal.SIGINT, signal.default_int_handler)
            problem = "was interrupted; its checkpoint is kept"
            raise CaseError(explain("-o", output, problem, "--resume to continue")) from None
        except FloatingPointError as error:
            legal = "a smaller learning_rate, or precision=32-true"
            raise CaseError(explain("-o", output, str(error), legal)) from None
    (scores,) = trainer.validate(training, validation, verbose=False)
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
        "devices": process.count,
        "precision": _precision(settings, device),
        "torch": torch.__version__,
    }
    maps = {name: _mean_map(found) for name, found in samples.maps.items()}
    config = _config(objective.settings, kind, labels, maps, samples.quantiles, facts)
    brain_only = settings.brain_only
    if brain_only is None:
        brain_only = not any(samples.unstripped)
    kept = objective.kept_settings(config.settings)
    config = config.model_copy(update={"settings": kept, "brain_only": brain_only})
    if process.is_first:
        models.save(output, config, module, card(config, output.name))
    trainer.strategy.barrier()  # the next stage reads what was saved
    return config


def _check_output(output: Path, *, resume: bool, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise CaseError(explain("-o", output, "is a file", "a new folder, or a folder of a model"))
    exists = (output / _CHECKPOINT).exists() or (output / models.CONFIG).exists()
    if exists and not (resume or overwrite):
        legal = "a new folder, --resume to continue, or --overwrite to start again"
        raise CaseError(explain("-o", output, "already holds a model", legal))


def _check_settings(folder: Path, settings: TrainingSettings) -> None:
    """Raise `CaseError` if the run in a folder was started with other settings."""
    written = folder / _SETTINGS
    try:
        before = type(settings).model_validate(yaml.safe_load(written.read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        legal = "the file that the training wrote"
        raise CaseError(explain("--resume", written, "is damaged", legal)) from None
    changed = [
        key
        for key in type(settings).model_fields
        # The settings of this stage are included; those of other stages do not change it.
        if key != "stages" and getattr(before, key) != getattr(settings, key)
    ]
    if changed:
        problem = f"was started with other settings ({', '.join(changed)})"
        raise CaseError(explain("--resume", folder, problem, f"the settings in {_SETTINGS}"))


def _resumable(checkpoint: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Read a checkpoint. `CaseError` if it is damaged or was made with other settings."""
    legal = f"the folder of an interrupted run, with {_SETTINGS} and {_CHECKPOINT}"
    for path in (checkpoint, checkpoint.with_name(_SETTINGS)):
        if not path.is_file():
            raise CaseError(explain("--resume", path, "does not exist", legal))
    _check_settings(checkpoint.parent, settings)
    try:
        return torch.load(checkpoint, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, UnpicklingError):
        raise CaseError(explain("--resume", checkpoint, "is damaged", legal)) from None


def _precision(settings: TrainingSettings, device: torch.device) -> Any:
    return fast_precision(device) if settings.precision == "auto" else settings.precision


def _trainer(
    settings: TrainingSettings, output: Path, on: _Machine, shown: _Progress, *, in_stages: bool
) -> Trainer:
    device, count = on.device, on.process.count
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    return Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index or 0] if device.type == "cuda" and count == 1 else count,
        strategy=strategy(count, in_stages=in_stages),
        precision=_precision(settings, device),
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


def _structures(subjects: Split) -> list[Label]:
    """The structures of all label maps, sorted by value.

    A name from a label table is preferred to a default name.

    Raises
    ------
    CaseError
        Two label maps give one value different names.
    """
    found: dict[int, tuple[Label, Path]] = {}
    for one in [*subjects.train, *subjects.validation]:
        if one.labels is None:
            continue
        for label in files.read_labels(one.labels).labels:
            known, where = found.get(label.value, (label, one.labels))
            default = f"label-{label.value}"
            if known.name == default:
                found[label.value] = label, one.labels
            elif label.name in (known.name, default):
                found[label.value] = known, where
            else:
                problem = f"gives the value {label.value} the name {label.name}"
                legal = f"the name {known.name}, as in {where}"
                raise CaseError(explain("-i", one.labels, problem, legal))
    return [found[value][0] for value in sorted(found)]


def _mean_map(maps: list[IntensityMap]) -> IntensityMap:
    """The median of the intensity maps of the training scans."""
    middle = {
        key: float(np.median([getattr(one, key) for one in maps]))
        for key in ("low", "high", "background")
    }
    return IntensityMap(**middle, units=maps[0].units)


def _config(
    settings: TrainingSettings,
    kind: type[Objective],
    labels: list[Label],
    maps: Mapping[str, IntensityMap],
    quantiles: Mapping[str, list[np.ndarray]],
    facts: dict[str, Any],
) -> models.ModelConfig:
    """The model's config. ``maps`` and ``quantiles`` are given by modality."""
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
        sources=settings.known_sources,
        targets=scales if any_to_any else {},
        any_contrast=kind.any_contrast,
        brain_only=settings.brain_only,
        grid=settings.grid,
        context=settings.context,
        network=settings.network,
        settings=settings.for_model(_kept(kind)),
        intensity=scales[settings.target].intensity if translator else None,
        quantiles=scales[settings.target].quantiles if translator else [],
        labels=[models.LabelSettings(**vars(one)) for one in labels],
        training=facts,
    )


def _kept(kind: type[Objective]) -> tuple[str, ...]:
    """The training settings that the finished model keeps."""
    if kind.kind == "translator":
        return METHODS.load(kind.method).model_settings
    return SEGMENTERS.load(kind.method).model_settings
