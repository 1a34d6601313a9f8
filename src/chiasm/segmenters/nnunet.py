"""A model folder of nnU-Net, run by nnU-Net's own program."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from chiasm.errors import UsageError, explain
from chiasm.image.modality import known_modality
from chiasm.segmenters.command import CommandSegmenter, Program

PROGRAM = "nnUNetv2_predict_from_modelfolder"
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")


class NnUNetSegmenter(CommandSegmenter):
    """Runs a folder such as ``Dataset500_X/nnUNetTrainer__nnUNetPlans__3d_fullres``.

    The program of nnU-Net has to be installed, in any environment whose ``bin`` is on the ``PATH``.
    The name of the only channel in ``dataset.json`` tells the modality, if it is a known name.
    """

    def _program(self, given: str | Path) -> Program:
        argument = self.argument
        folder = Path(given)
        content = _dataset(folder, argument)
        channels = [str(one) for one in content["channel_names"].values()]
        if len(channels) != 1:
            problem = f"needs {len(channels)} images ({', '.join(channels)})"
            raise UsageError(explain(argument, folder, problem, "a model of one modality"))
        ending = str(content.get("file_ending", ".nii.gz"))
        if ending not in (".nii.gz", ".nii"):
            problem = f"reads files that end with {ending}"
            raise UsageError(explain(argument, folder, problem, "a model that reads .nii.gz"))
        folds = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*"))
        checkpoint = _checkpoint(folder, folds, argument)
        model = shlex.quote(_escaped(folder))
        words = f"{PROGRAM} -i {{input_folder}} -o {{output_folder}} -m {model}"
        words += f" -f {' '.join(folds)} -chk {checkpoint} -device {{device}} -npp 1 -nps 1"
        self.folder = folder
        return Program(
            command=f"{words} --disable_progress_bar",
            name=folder.resolve().parent.name,
            modality=known_modality(channels[0]),
            labels=_labels(content["labels"]),
            input_name=f"scan_0000{ending}",
        )

    @staticmethod
    def recognises(given: str) -> bool:
        """Whether this is a folder that nnU-Net wrote."""
        return all((Path(given) / name).is_file() for name in ("dataset.json", "plans.json"))

    def load(self) -> None:
        if shutil.which(PROGRAM) is None:
            problem = f"needs the program {PROGRAM}, which is not installed"
            legal = "after pip install nnunetv2, in this or in another environment on the PATH"
            raise UsageError(explain(self.argument, self.folder, problem, legal))


def _dataset(folder: Path, argument: str) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["channel_names"].values()
        content["labels"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        legal = "the dataset.json of nnU-Net version 2, with channel_names and labels"
        raise UsageError(explain(argument, path, "cannot be read", legal)) from None
    return content


def _labels(labels: dict[str, Any]) -> dict[int, str]:
    """Value → name. A region, which is a list of values, stays without a name."""
    return {value: name for name, value in labels.items() if isinstance(value, int)}


def _checkpoint(folder: Path, folds: list[str], argument: str) -> str:
    for name in _CHECKPOINTS:
        if folds and all((folder / f"fold_{fold}" / name).is_file() for fold in folds):
            return name
    legal = f"folders fold_0, fold_1, … or fold_all with {' or '.join(_CHECKPOINTS)}"
    raise UsageError(explain(argument, folder, "has no trained weights", legal))


def _escaped(path: Path) -> str:
    """The path as a part of a command line with placeholders."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")
