"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[
    list[Path],
    typer.Option(
        "--input",
        "-i",
        help="A scan, or a folder of scans such as a BIDS dataset. DICOM series may lie in folders "
        "or in a zip archive. This option can be repeated.",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="The output folder. If the input is a single file, this may also be an output file.",
    ),
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="The output folder.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The name of a shipped translation model, or a model folder.",
        show_default="brain-t1",
    ),
]
SegmenterName = Annotated[
    str,
    typer.Option(
        "--segmenter",
        help="The name of a shipped or registered segmenter, a model folder, or a segmenter of "
        "others: a TorchScript or ONNX file, a folder of nnU-Net, or a command line such as "
        "'tool --in {input} --out {output}'.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="The translation method; `chiasm info` lists them.", show_default="the model's"
    ),
]
To = Annotated[str | None, typer.Option(help="The target modality.", show_default="the model's")]
Targets = Annotated[
    str | None,
    typer.Option(
        help="The target modality, or several with commas between them, such as T2,FLAIR.",
        show_default="the model's",
    ),
]
Modality = Annotated[
    str | None,
    typer.Option(
        help="The modality of the scan, such as T2. It replaces the modality in the file name.",
        show_default="the end of the file name",
    ),
]
Spacing = Annotated[
    float | None,
    typer.Option(help="The pixel spacing of PNG and TIFF slices in mm, above 0."),
]
Interpolate = Annotated[
    bool,
    typer.Option(
        "--interpolate",
        help="A DICOM series with missing or uneven slices is interpolated to even distances. "
        "Otherwise it is refused.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        help="The format of what is made of a DICOM series: dicom (a derived series and a DICOM "
        "segmentation) or nifti.",
        show_default="dicom",
    ),
]
Anonymize = Annotated[
    bool,
    typer.Option(
        "--anonymize",
        help="What is made of DICOM series holds nothing in its headers and names that identifies "
        "the person. Pixels are not changed.",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="A mask of the brain on the grid of the scan.",
        show_default="a file beside the scan such as SCAN_mask.nii.gz, otherwise computed from the "
        "scan",
    ),
]
Extract = Annotated[
    str | None,
    typer.Option(
        help="What finds the brain in the scan, in place of --mask. It is named as a segmenter is, "
        "for example 'tool --in {input} --out {output}'.",
        show_default="none",
    ),
]
Batch = Annotated[
    int,
    typer.Option(
        help="The number of slices in one network evaluation, at least 1. It changes speed and "
        "memory, but not the result."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="The number of CPU threads, at least 1.", show_default="all")
]
Device = Annotated[
    str, typer.Option(help="The device that networks run on: auto, cpu, cuda, cuda:N or mps.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Existing outputs are replaced.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Scans that are finished are skipped. Scans whose outputs are incomplete, or whose "
        "source, models or settings changed, are done again.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        help="The share of the scans that is done, such as 2/8. Several machines or jobs can then "
        "divide the scans.",
        show_default="that of the job of a SLURM array, otherwise all",
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        help="What runs the scans: local (this process) or ray (several processes on this machine, "
        "or the Ray cluster at RAY_ADDRESS)."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="The number of processes of the executor ray, at least 1.", show_default="1"),
]
Participants = Annotated[
    list[str] | None,
    typer.Option(
        "--participant-label",
        help="A participant of a BIDS dataset, such as 01 or sub-01. This option can be repeated.",
        show_default="all",
    ),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        help="A session of a BIDS dataset, such as 1 or ses-1. This option can be repeated.",
        show_default="all",
    ),
]
Reports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        help="A file that records the settings, the warnings and the outcome of every scan: a page "
        "if its name ends with .html, otherwise JSON. This option can be repeated.",
        show_default="none",
    ),
]
