"""Label maps of samseg, a contrast-adaptive segmenter by others, for ``foreign.py --saved``.

    python3 -m venv samseg && samseg/bin/pip install samseg==0.4a0
    python benchmarks/samseg.py --data DIR --program samseg/bin/run_samseg --cases "patient04"
    python benchmarks/foreign.py --data DIR --saved samseg=runs/samseg --cases "patient04"

samseg adapts a probabilistic atlas to each scan (Puonti et al., NeuroImage 143:235, 2016). It needs
whole heads and about a quarter of an hour for each, so it is run on a few scans. It runs as any
program that ``chiasm segment --segmenter`` names, and its structures become tissues by the table
that the phantoms use. Scans that have a label map already are not segmented again.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from chiasm import files
from chiasm.errors import CaseError
from chiasm.image.volume import TISSUES, LabelVolume
from chiasm.phantom.structures import TISSUE_OF, TISSUE_VALUES, structures_of
from chiasm.segmenters.load import load_segmenter
from foreign_cases import HEAD, foreign_cases
from foreign_networks import brain_extraction

SETTINGS = """\
name: samseg
command: {program} --input {{input}} --output {{output_folder}} --threads {{threads}}
output_name: "seg.*"
time_limit: 180
"""


def tissues(labels: LabelVolume) -> LabelVolume:
    """FreeSurfer's structures as CSF, grey matter, white matter and background.

    Structures that no tissue is known of, such as undetermined ones, become background.
    """
    array = np.zeros(labels.shape, np.int16)
    for value in np.unique(labels.array):
        with suppress(CaseError):
            (structure,) = structures_of(np.array([value]), "samseg")
            array[labels.array == value] = TISSUE_VALUES[TISSUE_OF[structure]]
    return replace(labels, array=array, labels=TISSUES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--cases", default="", help="words in the names of cases; all if not given")
    parser.add_argument("--output", type=Path, default=Path("runs/samseg"))
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    settings = chosen.output / "samseg.yaml"
    settings.write_text(SETTINGS.format(program=chosen.program.resolve()), encoding="utf-8")
    segmenter = load_segmenter(settings)
    segmenter.load()
    words = [word for word in chosen.cases.split(",") if word]
    for case in foreign_cases(chosen.data, brain_extraction(chosen.data / "foreign_models")):
        path = chosen.output / f"{case.name.replace(' ', '_')}.nii.gz"
        if case.view != HEAD or path.exists():
            continue
        if words and not any(word in case.name for word in words):
            continue
        start = perf_counter()
        found = segmenter.segment(case.read().source).labels
        files.write(found, path.with_name(f"structures_{path.name}"), overwrite=True)
        files.write(tissues(found), path)
        print(f"{case.name}: {perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
