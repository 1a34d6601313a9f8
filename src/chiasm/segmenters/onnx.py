"""Networks saved as ONNX, run by ONNX Runtime (``chiasm[onnx]``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from chiasm.errors import UsageError, explain
from chiasm.segmenters.network_file import FileSegmenter
from chiasm.segmenters.worker import Engine


class OnnxSegmenter(FileSegmenter):
    """An ONNX file with its YAML file, see `FileSegmenter`."""

    kind = "onnx"
    suffixes = (".onnx",)

    def load(self) -> None:
        if find_spec("onnxruntime") is None:
            legal = 'after pip install "chiasm[onnx]"'
            raise UsageError(explain(self.argument, self.path, "needs ONNX Runtime", legal))
        super().load()


def engine(path: Path, device: str) -> Engine:
    """The network of a file as a function of arrays. It runs in the process of the worker."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    on_gpu = device.startswith("cuda")
    wanted = "CUDAExecutionProvider" if on_gpu else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise RuntimeError(f"ONNX Runtime was installed without {wanted}")
    network = onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    names = [one.name for one in network.get_inputs()]

    def run(arrays):  # type: ignore[no-untyped-def]
        if len(arrays) != len(names):
            raise ValueError(f"the network has {len(names)} inputs, and {len(arrays)} were given")
        return network.run(None, dict(zip(names, arrays, strict=True)))[0]

    return run
