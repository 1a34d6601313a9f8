"""Networks saved as TorchScript (``torch.jit.save``)."""

from __future__ import annotations

from pathlib import Path

from chiasm.segmenters.network_file import FileSegmenter
from chiasm.segmenters.worker import Engine


class TorchScriptSegmenter(FileSegmenter):
    """A TorchScript file with its YAML file, see `FileSegmenter`."""

    kind = "torchscript"
    suffixes = (".ts", ".pt", ".pth", ".jit", ".torchscript")


def engine(path: Path, device: str) -> Engine:
    """The network of a file as a function of arrays. It runs in the process of the worker."""
    import numpy as np
    import torch

    network = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]

    def run(arrays):  # type: ignore[no-untyped-def]
        with torch.inference_mode():
            made = network(*(torch.from_numpy(np.array(one)).to(device) for one in arrays))
        while isinstance(made, list | tuple):  # deep supervision: the first is the result
            made = made[0]
        return made.float().cpu().numpy()

    return run
