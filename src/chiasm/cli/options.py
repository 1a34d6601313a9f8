"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[
    list[Path], typer.Option("--input", "-i", help="A scan, or a folder of scans; repeat for more.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="A file for one input file, else a folder.")
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="The output folder.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", help="A shipped translator or a model folder.", show_default="brain-t1"
    ),
]
SegmenterName = Annotated[
    str, typer.Option("--segmenter", help="A shipped segmenter or a model folder.")
]
Method = Annotated[
    str | None, typer.Option(help="A translator of `chiasm info`.", show_default="the model's")
]
To = Annotated[str | None, typer.Option(help="Target modality.", show_default="the model's")]
Targets = Annotated[
    str | None,
    typer.Option(help="Target modality, or several: T2,FLAIR.", show_default="the model's"),
]
Modality = Annotated[
    str | None, typer.Option(help="Of the source.", show_default="what the file name ends with")
]
Spacing = Annotated[float | None, typer.Option(help="Of PNG and TIFF slices, in mm.")]
Mask = Annotated[
    Path | None, typer.Option(help="The brain, on the scan's grid.", show_default="found")
]
Steps = Annotated[int | None, typer.Option(help="Diffusion steps.", show_default="the model's")]
Scheduler = Annotated[
    str | None, typer.Option(help="A scheduler of `chiasm info`.", show_default="the model's")
]
Guidance = Annotated[
    float | None, typer.Option(help="Weight of the guide.", show_default="the model's")
]
Start = Annotated[
    str | None,
    typer.Option(
        help="noise; guide: its estimate, noised; estimate: that alone.", show_default="the model's"
    ),
]
Noise = Annotated[str, typer.Option(help="One for each slice, or shared by all of a scan.")]
Planes = Annotated[
    str | None,
    typer.Option(
        help="axial, coronal, sagittal, or orthogonal: all three, averaged.",
        show_default="the model's",
    ),
]
Steering = Annotated[
    float | None,
    typer.Option(help="Strength of --method steering.", show_default="the model's"),
]
Detail = Annotated[
    bool | None,
    typer.Option(help="Put the scan's own detail back.", show_default="the model's"),
]
Seed = Annotated[int, typer.Option(help="Of the noise.")]
Samples = Annotated[
    int,
    typer.Option(
        help="Translations of each scan: the result is their mean, "
        "their standard deviation is written beside it."
    ),
]
Batch = Annotated[int, typer.Option(help="Samples in one network evaluation.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", show_default="all")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
Report = Annotated[Path | None, typer.Option(help="Write what was done as JSON.")]
