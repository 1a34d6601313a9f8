"""Run the network of a foreign file in a process of its own.

A file of TorchScript or ONNX can crash the process that loads it. A batch of scans must survive
that. The two processes exchange arrays in NumPy's format, without pickle.
`chiasm.segmenters.worker_process` is the other process.
"""

from __future__ import annotations

import io
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from chiasm.machine.process import last_lines, signal_group

HEAD = struct.Struct("<cQ")  # a letter and the number of bytes that follow
ARRAY, END, ERROR, READY = b"a", b"e", b"x", b"r"
Engine = Callable[[Sequence[np.ndarray]], np.ndarray]


class WorkerError(Exception):
    """The network failed. The message says how, without a full stop."""


def send(stream: IO[bytes], kind: bytes, content: bytes = b"") -> None:
    """Write one message: its kind, its length and its content."""
    stream.write(HEAD.pack(kind, len(content)))
    stream.write(content)
    stream.flush()


def packed(array: np.ndarray) -> bytes:
    """An array in NumPy's format."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpacked(content: bytes) -> np.ndarray:
    """An array from NumPy's format."""
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


class Worker:
    """The other process, as this one sees it.

    Parameters
    ----------
    kind : {"torchscript", "onnx"}
    path : Path
        The file of the network.
    device : str
        A device of torch.
    """

    def __init__(self, kind: str, path: Path, device: str) -> None:
        self.kind, self.path, self.device = kind, path, device
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    @property
    def alive(self) -> bool:
        """Whether the process was started and runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, seconds: float) -> None:
        """Start the process and load the network; a running one stays as it is.

        Raises
        ------
        WorkerError
            The network cannot be loaded within this time.
        """
        if self.alive:
            return
        import torch

        words = [sys.executable, "-m", f"{__name__}_process", self.kind]
        words += [str(self.path), self.device, str(torch.get_num_threads())]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `stop`
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        kind, content = self._receive(time.monotonic() + seconds)
        if kind != READY:
            self.stop()
            raise WorkerError(f"cannot be loaded ({content.decode('utf-8', 'replace')})")

    def call(self, arrays: Sequence[np.ndarray], seconds: float) -> np.ndarray:
        """What the network makes of these inputs.

        Raises
        ------
        WorkerError
            The network raised an error, its process ended, or it took longer than this.
        """
        self.start(seconds)
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            for array in arrays:
                send(self._process.stdin, ARRAY, packed(array))
            send(self._process.stdin, END)
        except OSError:
            raise WorkerError(self._ended()) from None
        kind, content = self._receive(time.monotonic() + seconds)
        if kind == ERROR:
            raise WorkerError(f"failed ({content.decode('utf-8', 'replace')})")
        return unpacked(content)

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        signal_group(self._process, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self._process.wait()
        self._log.close()
        self._process = None

    def __del__(self) -> None:
        self.stop()

    def _receive(self, until: float) -> tuple[bytes, bytes]:
        kind, size = HEAD.unpack(self._bytes(HEAD.size, until))
        return kind, self._bytes(size, until)

    def _bytes(self, count: int, until: float) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        handle, parts = self._process.stdout.fileno(), bytearray()
        while len(parts) < count:
            left = until - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                self.stop()
                raise WorkerError("did not answer within its time limit")
            part = os.read(handle, min(count - len(parts), 1 << 20))
            if not part:
                raise WorkerError(self._ended())
            parts += part
        return bytes(parts)

    def _ended(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        said = last_lines(self._log)
        self.stop()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"ended its process {how}{said}"
