"""Writes the card of a newly trained model."""

from __future__ import annotations

from chiasm.image.context import PLANES
from chiasm.models import ModelConfig


def card(config: ModelConfig, name: str) -> str:
    """The model card in Markdown, made from the facts of the config alone.

    It has the form of the shipped cards, without a licence and without tables of scores.
    """
    subjects = config.training.get("subjects", {})
    train = _count(subjects.get("train"), "subject")
    others = _count(subjects.get("validation"), "other subject")
    used = "was" if subjects.get("validation") == 1 else "were"
    return f"""{summary(config, name)}
## Data

{_data(config, train)}
For the validation, {others} {used} used.

## Limits

- The model is for research. It is not a medical device.
- It was trained on {_scans(config)}, in {_samples(config)}.
- It may change or remove what it has not seen in the training.
"""


def _data(config: ModelConfig, train: str) -> str:
    """The sentence on the training images."""
    images = f"{_listed(_modalities(config))} scans of {train}"
    if config.training.get("settings", {}).get("anatomies") is not None:
        images = f"simulated {config.target} images of heads, drawn from the label maps of {train}"
    return f"The model was trained on {images}."


def summary(config: ModelConfig, name: str) -> str:
    """The title, the first sentences and the table of facts."""
    rows = {**_what_it_is(config), **_what_it_runs(config), **_how_it_was_trained(config)}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"# {name}\n\n{_introduction(config)}\n\n| | |\n|:--|:--|\n{table}\n"


def _introduction(config: ModelConfig) -> str:
    made = _listed([*config.targets] or [config.target])
    if config.kind == "segmenter":
        seen = "images of any modality" if config.any_contrast else f"{config.target} images"
        first = f"This segmenter labels {_listed(_structures(config))} on {seen}."
    else:
        read = _listed(config.sources, "or") or "any modality"
        first = f"This translator makes {made} images from scans of {read}."
    return f"{first} Its method is `{config.method}`.\nIt was trained with `chiasm train`."


def _what_it_is(config: ModelConfig) -> dict[str, str]:
    """The rows on modalities, labels and input."""
    if config.kind == "segmenter":
        modality = config.target
        if config.any_contrast:
            modality = f"any; the model has seen {config.target} only, under random contrast"
        labels = ", ".join(_structures(config))
        return {"Modality": modality, "Labels": labels, "Input": _input(config)}
    if config.sources:
        source = ", ".join(config.sources)
    elif config.targets:
        source = "one of these; any other modality is taken as unknown"
    else:
        source = f"any modality; the model has seen {config.target} only"
        guides = config.settings.get("guides", [])
        if any(guide.get("randomise") for guide in guides):
            source += ", under random contrast"
    targets = "Targets" if len(config.targets) > 1 else "Target"
    made = ", ".join(config.targets or [config.target])
    return {targets: made, "Source": source, "Input": _input(config)}


def _what_it_runs(config: ModelConfig) -> dict[str, str]:
    """The rows on the network and what the method does with it."""
    kept = config.settings
    rows = {"Network": f"`{config.network.get('name')}`"}
    if guides := kept.get("guides"):
        names = ", ".join(f"`{guide['name']}`" for guide in guides)
        rows["Guide" if len(guides) == 1 else "Guides"] = names
    if mapping := kept.get("intensity_mapping"):
        rows["Refinement iterations"] = str(mapping["iterations"])
    if planes := kept.get("inference_planes"):
        every = "the mean of axial, coronal and sagittal slices"
        rows["Planes of the result"] = every if planes == "orthogonal" else f"{planes} slices"
    if kept.get("detail_transfer") is not None:
        rows["Detail transfer"] = "on"
    if kept.get("learn_error") or kept.get("error_network"):
        rows["Expected error"] = "written beside the translation"
    return rows


def _how_it_was_trained(config: ModelConfig) -> dict[str, str]:
    """The rows on data, settings and cost of the training."""
    facts = config.training
    settings, subjects = facts.get("settings", {}), facts.get("subjects", {})
    whole = config.context.kind == "3d"
    samples = _count(facts.get("samples"), "volume" if whole else "slice")
    if settings.get("anatomies") is not None:
        samples = "random heads drawn from their label maps"
    rows = {
        "Training": f"{_count(subjects.get('train'), 'subject')}, {samples}, "
        f"{_count(settings.get('iterations'), 'iteration')}, batch {settings.get('batch')}, "
        f"seed {settings.get('seed')}",
        "Validation loss": f"{facts.get('validation_loss'):.4f}, "
        f"on {_count(subjects.get('validation'), 'other subject')}",
    }
    if settings.get("segmenter_loss"):
        rows["Validation loss"] += "; it includes the segmenter's loss"
    if first := facts.get("pretrained"):
        rows["First weights"] = first
    earlier = facts.get("earlier") or {}
    devices = facts.get("devices") or 1
    for number, (stage, cost) in enumerate(earlier.items(), start=1):
        rows[f"Stage {number}, `{stage}`"] = _cost(cost, facts.get("device"), devices)
    last = f"Stage {len(earlier) + 1}" if earlier else "Time of the training"
    rows[last] = _cost(facts, facts.get("device"), devices)
    return rows


def _cost(facts: dict, device: str | None, processes: int = 1) -> str:
    """Time, device and memory. Every process of a training has its own memory."""
    kind = str(device).split(":")[0]
    where = {"cpu": "a CPU", "cuda": "a GPU"}.get(kind, f"`{device}`")
    if processes > 1:
        where = f"{processes} GPUs" if kind == "cuda" else f"{where} in {processes} processes"
    memory = facts.get("memory_mb")
    used = f", at most {memory} MiB" if memory else ""
    used += " each" if memory and processes > 1 else ""
    return f"{facts.get('seconds')} s on {where}{used}"


def _input(config: ModelConfig) -> str:
    return f"{_scans(config)}, {_samples(config)}"


def _scans(config: ModelConfig) -> str:
    names = {True: "skull-stripped brains", False: "whole heads", None: "scans"}
    heads = config.training.get("settings", {}).get("anatomies") or {}
    if 0 < heads.get("stripped", 0) < 1:
        return "whole heads or skull-stripped brains"
    return names[config.brain_only]


def _samples(config: ModelConfig) -> str:
    """The images that the network sees, for example "axial slices with pixels of 2 mm"."""
    spacing = list(config.grid.spacing)
    if config.context.kind == "3d":
        return f"volumes with voxels of {_size(spacing)}"
    stacked = config.grid.orientation[config.grid.slice_axis]
    own: list[str] = [plane for plane, ways in PLANES.items() if stacked in ways]
    planes = config.training.get("settings", {}).get("planes") or own
    parts = [f"{_listed(planes)} slices with pixels of {_size(spacing[:2])}"]
    if spacing[2]:
        parts.append(f"a distance of {_size(spacing[2:])}")
    if beside := config.context.neighbours:
        parts.append(f"{_count(beside, 'neighbouring slice')} on each side")
    return _listed(parts)


def _size(spacing: list[float | None]) -> str:
    """Voxel sizes in words; equal ones are given once."""
    if len({*spacing}) == 1:
        spacing = spacing[:1]
    sizes = ["the scan's own size" if one is None else f"{one:g} mm" for one in spacing]
    return " × ".join(sizes)


def _structures(config: ModelConfig) -> list[str]:
    """The names of the labels without the background."""
    return [label.name for label in config.labels if label.value]


def _modalities(config: ModelConfig) -> list[str]:
    """The modalities of the training scans."""
    sources = config.training.get("settings", {}).get("sources", [])
    return list(dict.fromkeys([config.target, *config.targets, *sources]))


def _count(number: int | None, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: list[str], last: str = "and") -> str:
    """The names as an enumeration: "a, b and c"."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
