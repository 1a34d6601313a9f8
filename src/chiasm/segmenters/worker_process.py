"""The process that holds the network of a foreign file, see `chiasm.segmenters.worker`.

python -m chiasm.segmenters.worker_process KIND FILE DEVICE THREADS
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from chiasm.segmenters.worker import ARRAY, ERROR, HEAD, READY, Engine, packed, send, unpacked


def main(arguments: Sequence[str]) -> int:
    """Serve one network on the standard streams until they are closed."""
    kind, path, device, threads = arguments
    # What libraries print must not mix with the arrays.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        import torch

        torch.set_num_threads(int(threads))
        run: Engine = import_module(f"chiasm.segmenters.{kind}").engine(Path(path), device)
    except Exception as error:
        send(out, ERROR, _line(error))
        return 1
    send(out, READY)
    stream, given = sys.stdin.buffer, []
    while head := stream.read(HEAD.size):
        letter, size = HEAD.unpack(head)
        if letter == ARRAY:
            given.append(unpacked(stream.read(size)))
            continue
        try:
            made = run(given)
            send(out, ARRAY, packed(np.asarray(made, np.float32)))
        except Exception as error:
            send(out, ERROR, _line(error))
        given = []
    return 0


def _line(error: BaseException) -> bytes:
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    shown = " ".join(line for line in lines if line)
    return f"{type(error).__name__}: {shown[-300:] or 'no message'}".encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
