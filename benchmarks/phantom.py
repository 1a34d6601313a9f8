"""Translators on digital brains of unseen seeds: PD→T1 and T2→T1, beside the real T1.

    python benchmarks/phantom.py [--subjects 10] [--slices 10] [--model NAME=FOLDER]

Every method is judged by the shipped T1 segmenter on the same axial slices of the same subjects.
`make benchmarks` trains the model of the published operator, which is not shipped, and adds it.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from chiasm import api
from chiasm.head import head_mask
from chiasm.modality import modality_name
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import subject_seed
from chiasm.progress import progress
from chiasm.volume import LabelVolume, Volume
from harness import Case, add_methods, judge, methods, save, show, summarise

COLUMNS = ("psnr", "ssim", "dice_csf", "dice_grey", "dice_white", "dice", "gap_closed")
COLUMNS += ("seconds_per_slice",)


def slices(image: Any, which: np.ndarray) -> Any:
    """Evenly spaced slices of an image as a volume of its own."""
    affine = np.array(image.affine)
    step = int(which[1] - which[0]) if len(which) > 1 else 1
    affine[:3, 3] += affine[:3, 2] * which[0]
    affine[:3, 2] *= step
    array = np.ascontiguousarray(image.array[:, :, which])
    if isinstance(image, LabelVolume):
        return LabelVolume(array, affine, image.labels)
    return Volume(array, affine, image.units, image.modality)


def cases(count: int, seed: int, sources: list[str], target: str, shown: int, spacing: float):
    """The cases of all subjects; slices span the middle 70 % of the brain."""
    settings = Settings(modalities=(target, *sources), spacing=spacing)
    with progress("phantoms", count) as advance:
        for number in range(1, count + 1):
            one = subject(subject_seed(seed, number), settings)
            mask = head_mask(one.volumes[target])
            inside = np.flatnonzero(mask.any(axis=(0, 1)))
            first, last = np.quantile(inside, [0.15, 0.85])
            step = max(1, round((last - first) / max(shown - 1, 1)))
            which = int(first) + step * np.arange(shown)
            truth, real = slices(one.labels, which), slices(one.volumes[target], which)
            for source in sources:
                facts = {
                    key: float(value)
                    for key, value in one.parameters[source].items()
                    if key.startswith("cnr_")
                }
                image = slices(one.volumes[source], which)
                yield Case(f"{number:02d}", image, real, truth, mask[:, :, which], facts)
            advance(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=10)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--seed", type=int, default=90000)
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--sources", default="PD,T2")
    add_methods(parser, save="phantom")
    chosen = parser.parse_args()

    translators = methods(chosen, edit_levels=(0.25, 0.5, 0.75))
    segmenter = api.load_segmenter(chosen.segmenter)
    target = translators["none"].model.config.target
    sources = [modality_name(name) for name in chosen.sources.split(",")]

    rows = []
    for case in cases(chosen.subjects, chosen.seed, sources, target, chosen.slices, chosen.spacing):
        for name, translator in translators.items():
            rows.append(
                judge(case, name, lambda v, m, t=translator: t.translate(v, m).volume, segmenter)
            )
        rows.append(judge(case, f"real {target}", None, segmenter))
    lines = summarise(rows, ceiling=f"real {target}", floor="none")
    show("Digital brains of unseen seeds", lines, COLUMNS)
    save(chosen.save, vars(chosen), lines, rows)


if __name__ == "__main__":
    main()
