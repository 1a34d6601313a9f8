"""One factor at a time at equal iterations: what each is worth, and what it costs.

    python benchmarks/ablation.py --data DIR [--iterations 200] [--rows guide,patch]

DIR holds T1w scans of training brains, as `chiasm phantom` writes them. Every row is a short
training of its method's plain settings with one changed, scored on digital brains of unseen seeds
as in benchmarks/phantom.py. Rows that differ in sampling alone share one training. Each row is
saved when it is finished and is not computed again. An interrupted training is resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from chiasm import models
from chiasm.comparison.cases import Case
from chiasm.comparison.score import real_name, score, score_real
from chiasm.comparison.summary import summarise
from chiasm.diffusion.denoiser import Denoiser
from chiasm.image.modality import modality_name
from chiasm.methods.base import Translator
from chiasm.methods.load import load_translator
from chiasm.registry import DEFAULT_SEGMENTER, GUIDES
from chiasm.segmenters import Segmenter
from chiasm.segmenters.load import load_segmenter
from chiasm.training.fit import train
from chiasm.training.settings import training_settings
from harness import (
    add_brains,
    candidates,
    modalities,
    rows_to_extend,
    save,
    saved_options,
    show,
    target_of,
)
from phantom import cases

REGRESSION, DIFFUSION = "regression", "lmi-diffusion"
TARGET = "T1"
COLUMNS = ("psnr", "ssim", "dice", "gap_closed", "seconds_per_slice")
COSTS = ("train_seconds", "prepare_ms", "guide_ms", "network_ms")
SLICE = (96, 112)  # voxels of the slice that costs are measured on: a brain at 2 mm
_REPEATS = 5


@dataclass(frozen=True)
class Row:
    """A factor, its value in words, and the settings that differ from the method's plain ones."""

    factor: str
    value: str
    method: str
    train: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method}: {self.factor} {self.value}"


def guides(*which: str | dict[str, Any]) -> dict[str, Any]:
    """The setting that names these guides."""
    return {"guides": [{"name": one} if isinstance(one, str) else one for one in which]}


def lmi(**settings: Any) -> dict[str, Any]:
    """The self-map of local mutual information, which a one-step network can use."""
    return {"name": "lmi", "maps": ["source"]} | settings


def diffusion(**settings: Any) -> dict[str, Any]:
    """Settings of the denoiser."""
    return {"diffusion": {"parameterisation": "x0"} | settings}


PLAIN = {
    REGRESSION: {"intensity_mapping": None, "detail_transfer": None},
    DIFFUSION: {"timestep_bias": 2.0},
}
# The guide "translation" is this model's result.
FIRST = Row("guide", "source", REGRESSION, guides("source"))
UNRANDOM = {"name": "source", "randomise": False}

# A guide that needs settings of its own to stand for its idea is written out.
ROWS = (
    FIRST,
    Row("guide", "lmi map", REGRESSION, guides(lmi())),
    Row("guide", "lmi vector", REGRESSION, guides(lmi(reduce="none"))),
    Row("guide", "lmi patches 3 5 7", REGRESSION, guides(lmi(patch_sizes=[3, 5, 7]))),
    Row("guide", "lmi scales 1 2 4", REGRESSION, guides(lmi(scales=[1, 2, 4]))),
    Row("guide", "mind", REGRESSION, guides("mind")),
    Row("guide", "contours", REGRESSION, guides("contours")),
    Row("guide", "edges", REGRESSION, guides("edges")),
    Row("guide", "lmi map + source", REGRESSION, guides(lmi(), "source")),
    Row("guide", "lmi with x_t and itself", DIFFUSION, guides("lmi")),
    Row("guide", "lmi map", DIFFUSION, guides(lmi())),
    Row("guide", "source", DIFFUSION, guides("source")),
    Row("guide", "mind", DIFFUSION, guides("mind")),
    Row("guide", "contours", DIFFUSION, guides("contours")),
    Row("guide", "edges", DIFFUSION, guides("edges")),
    Row("guide", "translation", DIFFUSION, guides("translation")),
    Row("randomisation", "source, none", REGRESSION, guides(UNRANDOM)),
    Row("randomisation", "source, random", REGRESSION, guides("source")),
    Row("randomisation", "source, mild", REGRESSION, {"contrast": {"roughness": 0.5}}),
    Row("randomisation", "lmi map, none", REGRESSION, guides(lmi())),
    Row("randomisation", "lmi map, random", REGRESSION, guides(lmi(randomise=True))),
    Row("randomisation", "lmi, none", DIFFUSION, guides("lmi")),
    Row("randomisation", "lmi, random", DIFFUSION, guides({"name": "lmi", "randomise": True})),
    *(Row("patch", str(n), REGRESSION, guides(lmi(patch_size=n))) for n in (3, 5, 7)),
    *(Row("bins", str(n), REGRESSION, guides(lmi(bins=n))) for n in (16, 27, 64)),
    *(Row("steps", str(steps), DIFFUSION, {}, {"steps": steps}) for steps in (1, 2, 4, 8, 20)),
    Row("intensity mapping", "none", REGRESSION),
    Row("intensity mapping", "in refinement iterations", REGRESSION, {"intensity_mapping": {}}),
    Row("detail transfer", "none", REGRESSION),
    Row("detail transfer", "yes", REGRESSION, {}, {"detail": True}),
    Row("parameterisation", "x0", DIFFUSION, diffusion()),
    Row("parameterisation", "v", DIFFUSION, diffusion(parameterisation="v")),
    Row(
        "parameterisation",
        "epsilon",
        DIFFUSION,
        diffusion(parameterisation="epsilon", scheduler="dpm++"),
    ),
    Row("weighting", "uniform times", DIFFUSION, {"timestep_bias": 1.0}),
    Row("weighting", "late times", DIFFUSION),
    Row("weighting", "late times, min-SNR 5", DIFFUSION, {"min_snr": 5.0}),
    Row("noise", "shared", DIFFUSION, {}, {"noise": "shared"}),
    # What may be left out where time is short.
    Row("guide", "translation + lmi", DIFFUSION, guides("translation", "lmi")),
    Row("weighting", "uniform times, min-SNR 5", DIFFUSION, {"timestep_bias": 1.0, "min_snr": 5.0}),
    *(Row("bins", str(n), DIFFUSION, guides({"name": "lmi", "bins": n})) for n in (16, 27, 64)),
    *(Row("patch", str(n), DIFFUSION, guides({"name": "lmi", "patch_size": n})) for n in (3, 5, 7)),
)


def trained(row: Row, chosen: argparse.Namespace) -> tuple[Path, float]:
    """The row's model and the seconds it took; trained, or resumed, if it is not there.

    The guide ``translation`` is a regression of as many iterations, whose seconds count too.
    """
    settings = PLAIN[row.method] | row.train | {"iterations": chosen.iterations}
    seconds = 0.0
    if any(one == {"name": "translation"} for one in settings.get("guides", [])):
        first, seconds = trained(FIRST, chosen)
        settings["guides"] = [
            one | {"model": str(first)} if one["name"] == "translation" else one
            for one in settings["guides"]
        ]
    told = tuple(f"{key}={json.dumps(value)}" for key, value in settings.items())
    complete = training_settings(row.method, modality_name(TARGET), None, told)
    key = json.dumps([str(chosen.data.resolve()), complete.model_dump(mode="json")])
    folder = chosen.runs / hashlib.sha256(key.encode()).hexdigest()[:12]
    if not (folder / models.CONFIG).is_file():
        print(f"training {row.name}", flush=True)
        resume = (folder / "last.ckpt").is_file()
        train(chosen.data, folder, complete, resume=resume, overwrite=not resume)
    config = models.load(folder, kind="translator").config
    return folder, seconds + config.training["seconds"]


def milliseconds(call: Callable[[], Any]) -> float:
    """The fastest of some calls, after one that is not counted."""
    call()
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def cost(translator: Translator) -> dict[str, float]:
    """Of one slice of `SLICE`: guides once, guides per evaluation, network per evaluation."""
    module = translator.model.module
    source = torch.rand((1, translator.model.config.context.images, *SLICE))
    x_t, at = torch.randn((1, 1, *SLICE)), torch.tensor([500])
    with torch.inference_mode():
        prepared = module.guides.prepare(source)
        if isinstance(module, Denoiser):
            channels = prepared(x_t, at)
            guide = milliseconds(lambda: module.conditioning(prepared, x_t, at))
            network = milliseconds(lambda: module.predict(x_t, at, channels))
        else:
            channels = module.channels(source)
            guide = milliseconds(lambda: prepared(None, None))
            network = milliseconds(lambda: module.network(channels, None))
        prepare = milliseconds(lambda: module.guides.prepare(source))
    return {"prepare_ms": prepare, "guide_ms": guide, "network_ms": network}


def scored(
    row: Row, chosen: argparse.Namespace, unseen: list[Case], segmenter: Segmenter
) -> Iterator[dict[str, Any]]:
    """Scores of every case, with what training and one evaluation took."""
    folder, seconds = trained(row, chosen)
    translator = load_translator(folder, **row.run)
    took = {"train_seconds": seconds} | cost(translator)
    (candidate,) = candidates({row.name: translator}, segmenter)
    for case in unseen:
        yield score(case, candidate).row | {"cost": took}


def bounds(unseen: list[Case], segmenter: Segmenter) -> Iterator[dict[str, Any]]:
    """The floor and the ceiling: the source as it is, and the real target."""
    (none,) = candidates({"none": load_translator(method="none", to=TARGET)}, segmenter)
    for case in unseen:
        yield score(case, none).row
        yield score_real(case).row


def known(row: Row) -> bool:
    """Whether the guides of the row, and all their settings, are there."""
    named = row.train.get("guides", [])
    return all(one["name"] in GUIDES and _takes(GUIDES.load(one["name"]), one) for one in named)


def _takes(guide: Any, settings: dict[str, Any]) -> bool:
    try:
        guide.model_validate(settings)
    except ValueError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--rows", default="", help="factors, e.g. guide,patch; all if not given")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    add_brains(parser, subjects=3, slices=6, sources="PD,T2")
    parser.add_argument("--save", default="ablation")
    chosen = parser.parse_args()

    factors = list(dict.fromkeys(row.factor for row in ROWS))
    wanted = chosen.rows.split(",") if chosen.rows else factors
    if unknown := set(wanted) - set(factors):
        parser.error(f"--rows {', '.join(unknown)}: legal: {', '.join(factors)}")
    settings = saved_options(chosen, "data", "runs", "rows")
    rows = rows_to_extend(parser, chosen.save, settings)

    segmenter = load_segmenter(chosen.segmenter)
    target = target_of(segmenter)
    unseen = list(cases(chosen, modalities(chosen.sources), target, segmenter))

    def finish(found: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        rows.extend(list(found))
        took = {row["method"]: row["cost"] for row in rows if "cost" in row}
        lines = [
            line | took.get(line["method"], {})
            for line in summarise(rows, ceiling=real_name(target))
        ]
        save(chosen.save, settings, lines, rows)
        return lines

    lines = finish(iter(())) if rows else finish(bounds(unseen, segmenter))
    for row in ROWS:
        done = row.name in {one["method"] for one in rows}
        if row.factor not in wanted or done:
            continue
        if not known(row):
            print(f"left out {row.name}: no such guide here", flush=True)
            continue
        lines = finish(scored(row, chosen, unseen, segmenter))
    show(f"One factor at a time, {chosen.iterations} iterations", lines, (*COLUMNS, *COSTS))


if __name__ == "__main__":
    main()
