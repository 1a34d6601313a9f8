"""Any program as a segmenter: ``--segmenter 'tool --in {input} --out {output}'``."""

from __future__ import annotations

import shlex
import shutil
import string
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from chiasm import files
from chiasm.errors import CaseError, UsageError, explain
from chiasm.image.volume import LabelVolume, Volume
from chiasm.machine.device import resolve_device
from chiasm.machine.process import ProgramError, TimeLimitError, run_program
from chiasm.segmenters.base import Segmentation
from chiasm.segmenters.description import Description, content_of, described
from chiasm.segmenters.labels_of_others import named, placed
from chiasm.segmenters.of_others import SegmenterOfOthers

_SHOWN = 5  # files that an error names
_INPUTS, _OUTPUTS = {"input", "input_folder"}, {"output", "output_folder"}
PLACEHOLDERS = (*sorted(_INPUTS), *sorted(_OUTPUTS), "mask", "device", "threads")


class Program(Description):
    """The settings of a program.

    Parameters
    ----------
    command : str
        The command line, with ``{input}`` for the scan and ``{output}`` for the label map, both
        NIfTI. ``{input_folder}`` and ``{output_folder}`` are folders that hold only these.
        ``{mask}`` is the foreground on the grid of the scan, ``{device}`` is cpu or cuda, and
        ``{threads}`` the number of CPU threads.
    input_name : str
        The name of the scan's file.
    output_name : str
        The name of the label map among the files that the program writes, such as
        ``"*_seg.nii.gz"``. Without it, the label map is ``{output}``, the only NIfTI file,
        or the only image in another format, such as .mgz.
    """

    command: str
    input_name: str = "scan.nii.gz"
    output_name: str = ""


class CommandSegmenter(SegmenterOfOthers):
    """Runs a program for each scan, in a process and in the environment of its own.

    The program reads the scan as a NIfTI file and writes a label map. A label map on another grid
    in the same scanner space is resampled onto the scan by nearest neighbour.

    A command line with placeholders names it, or a YAML file with the settings of `Program`.
    """

    description: Program

    def _described(self, given: str | Path) -> Program:
        program = self._program(given)
        self.words = _words(program.command, self.argument)
        return program

    def _program(self, given: str | Path) -> Program:
        content = content_of(given, self.argument) or {"command": str(given)}
        return described(Program, content, given, self.argument)

    def _own_name(self) -> str:
        return Path(self.words[0]).name

    @staticmethod
    def recognises(given: str) -> bool:
        """Whether this is a command line, or a YAML file that holds one."""
        if any("{" + one in given for one in _INPUTS | _OUTPUTS):
            return True
        return "command" in (content_of(given) or {})

    def load(self) -> None:
        if shutil.which(self.words[0]) is None:
            legal = "a program that is installed, or the path of one"
            raise UsageError(explain(self.argument, self.words[0], "is not a program", legal))

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "command": self.description.command}

    def segment(self, volume: Volume, mask: np.ndarray | None = None) -> Segmentation:
        with TemporaryDirectory(prefix="chiasm-") as name:
            folder = Path(name)
            found, seconds = self._run(volume, mask, folder)
        labels, resampled = placed(named(found, self.labels), volume, self.name, self.argument)
        record = {"command": self.description.command, "seconds": round(seconds, 3)}
        return Segmentation(labels, record | {"resampled_onto_the_scan": resampled})

    def _run(
        self, volume: Volume, mask: np.ndarray | None, folder: Path
    ) -> tuple[LabelVolume, float]:
        given, made = folder / "in", folder / "out"
        made.mkdir()
        scan, output, inside = given / self.description.input_name, made / "labels.nii.gz", None
        files.write(volume, scan)
        if mask is None:
            mask = np.ones(volume.shape, bool)
        if "{mask}" in self.description.command:
            inside = files.write(
                LabelVolume(mask.astype(np.int16), volume.affine), folder / "mask.nii.gz"
            )
        values = {
            "input": scan,
            "input_folder": given,
            "output": output,
            "output_folder": made,
            "mask": inside,
            "device": resolve_device(self.resources.device).type,
            "threads": _threads(),
        }
        words = [word.format_map(values) for word in self.words]
        try:
            seconds = run_program(words, folder / "log", seconds=self.description.seconds)
            return self._read(output, made), seconds
        except ProgramError as error:
            legal = "a program that ends with exit code 0 and writes a label map"
            if isinstance(error, TimeLimitError):
                legal = "a program that ends in time, or a YAML file with a longer time_limit"
            raise CaseError(explain(self.argument, self.name, str(error), legal)) from None

    def _read(self, output: Path, folder: Path) -> LabelVolume:
        """The label map that the program wrote."""
        every = sorted(path for path in folder.rglob("*") if path.is_file())
        images = [path for path in every if path.name.lower().endswith(files.endings())]
        if wanted := self.description.output_name:
            images = [path for path in images if fnmatch(path.name, wanted)]
        elif output in images:
            images = [output]
        else:  # beside a label map as NIfTI, images in other formats are not meant
            nifti = [path for path in images if path.name.endswith((".nii", ".nii.gz"))]
            images = nifti or images
        if len(images) != 1:
            wrote = ", ".join(path.name for path in every[:_SHOWN]) or "nothing"
            problem = (
                f"wrote {'no' if not images else 'more than one'} label map (it wrote {wrote})"
            )
            legal = "one label map, or a YAML file whose output_name tells which one is meant"
            raise CaseError(explain(self.argument, self.name, problem, legal))
        return files.read_labels(images[0], argument=f"{self.argument} {self.name} wrote")


def _words(command: str, argument: str) -> list[str]:
    """The words of a command line, checked."""
    legal = f"a command line with {{input}} and {{output}} ({', '.join(PLACEHOLDERS)} are known)"
    try:
        words = shlex.split(command)
        parsed = [one for word in words for one in string.Formatter().parse(word)]
    except ValueError as error:
        raise UsageError(explain(argument, command, f"is not legal ({error})", legal)) from None
    used = {key for _, key, _, _ in parsed if key is not None}
    if unknown := used.difference(PLACEHOLDERS):
        problem = f"has the unknown placeholder {{{min(unknown)}}}"
        raise UsageError(explain(argument, command, problem, legal))
    if not used & _INPUTS or not used & _OUTPUTS:
        lacking = "{input}" if not used & _INPUTS else "{output}"
        raise UsageError(explain(argument, command, f"lacks {lacking}", legal))
    return words


def _threads() -> int:
    import torch

    return torch.get_num_threads()
