"""The Triton kernels in Triton's interpreter, and compiled for an H100, neither of which needs one.

Triton decides when it is imported whether it interprets: so it runs in a process of its own.
"""

import importlib
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from lmi_images import KINDS
from lmi_numpy import every_score

from chiasm.errors import UsageError
from chiasm.lmi import LMISettings
from chiasm.lmi.definition import Definition

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

AMPLE = 2**30
# Kind of images, shape of a batch, settings and memory. The interpreter takes a fifth of a
# millisecond per operation, however few pixels it is on: few tiles of bins, few offsets.
ALONE = {"search_size": 1}
WIDE = {"bins": 8, "bandwidth": 0.1}
CASES = {
    "noise": ("noise", (1, 17, 23), ALONE, AMPLE),
    "smooth": ("smooth", (1, 17, 23), ALONE, AMPLE),
    "pieces": ("pieces", (1, 17, 23), WIDE, AMPLE),
    "bits": ("noise", (1, 5, 6), {"normalized": False, **ALONE}, AMPLE),
    "patch 5": ("noise", (1, 5, 6), {"patch_size": 5, **ALONE, **WIDE}, AMPLE),
    "patch 7": ("smooth", (1, 4, 9), {"patch_size": 7, **ALONE, **WIDE}, AMPLE),
    "search 5": ("noise", (1, 5, 6), {"search_size": 5, **WIDE}, AMPLE),
    "64 bins": ("noise", (1, 6, 7), {"bins": 64, **ALONE}, AMPLE),
    "2 bins": ("noise", (1, 9, 10), {"bins": 2, "bandwidth": 0.4, **ALONE}, AMPLE),
    "just not narrow": ("noise", (1, 5, 6), {"bins": 13, "bandwidth": 0.03, **ALONE}, AMPLE),
    "one row": ("noise", (1, 1, 19), WIDE, AMPLE),
    "one pixel": ("noise", (1, 1, 1), WIDE, AMPLE),
    "batch": ("noise", (3, 6, 7), WIDE, AMPLE),
    "batch, image by image": ("noise", (3, 6, 7), {**ALONE, **WIDE}, 4000),
    "batch, some rows at once": ("pieces", (2, 6, 7), {**ALONE, **WIDE}, 2000),
    "volume": ("noise", (1, 5, 5, 5), WIDE, AMPLE),
    "smooth volume": ("smooth", (1, 5, 6, 4), {"bins": 18, "bandwidth": 0.05, **ALONE}, AMPLE),
    "volumes, plane by plane": ("noise", (2, 3, 3, 5), {**ALONE, **WIDE}, 1),
}
BEST = ("batch", "batch, some rows at once")


def pair(kind, shape):
    """A source and another image; the second of a batch is constant."""
    source, other = (KINDS[kind](shape, seed) for seed in (1, 2))
    source[1:2] = 0.4
    return source, other


def interpret(file):
    """Save the scores of all cases; in a process whose Triton interprets."""
    from chiasm.lmi import triton_engine

    # The interpreter takes as long for many pixels as for few.
    triton_engine.LANES = 512
    results = {}
    for name, (kind, shape, settings, memory) in CASES.items():
        source, other = map(torch.from_numpy, pair(kind, shape))
        engine = triton_engine.TritonEngine(source, LMISettings(**settings), memory)
        results[name] = engine(other, True)
        if name in BEST:
            results[f"{name}, best"] = engine(other, False)
    np.savez(file, **results)


def compile_for_h100():
    """Print what the machine code of the kernels, for volumes, takes of a processor."""
    from triton.backends import nvidia
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from chiasm.lmi import triton_engine

    constants = {"DEEP": True, "PATCH": 3, "SEARCH": 3, "ROWS": 9, "NORMALIZED": True}
    constants |= {"TILE": triton_engine.TILE, "LANES": triton_engine.LANES}
    types = dict.fromkeys(constants, "constexpr") | dict.fromkeys(("step", "reach"), "fp32")
    arrays = ("values", "norms", "entropy", "result")
    for kernel in (triton_engine._marginal_kernel, triton_engine._score_kernel):
        names = kernel.arg_names
        known = {name: value for name, value in constants.items() if name in names}
        signature = {
            name: types.get(name, "*fp32" if name.endswith(arrays) else "i32") for name in names
        }
        options = {"num_warps": 1, "enable_fp_fusion": True}
        source, target = ASTSource(kernel, signature, known), GPUTarget("cuda", 90, 32)
        code = compile(source, target=target, options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(code.asm["cubin"])
            file.flush()
            tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
            subprocess.run([tool, "--dump-resource-usage", file.name], check=True)


def in_own_process(code, interpreted):
    environment = os.environ | {"TRITON_INTERPRET": "1" if interpreted else "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", f"import test_lmi_triton as test; {code}"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    file = tmp_path_factory.mktemp("triton") / "scores.npz"
    in_own_process(f"test.interpret({str(file)!r})", interpreted=True)
    return np.load(file)


@pytest.mark.long  # the interpreter takes half a minute for all cases
@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_interpreted_equals_the_numpy_definition(interpreted, name):
    kind, shape, settings, _ = CASES[name]
    images = zip(*pair(kind, shape), strict=True)
    expected = np.stack([every_score(*both, **settings) for both in images])
    np.testing.assert_allclose(interpreted[name], expected, rtol=0, atol=1e-5)
    # Constant patches score exactly 0.
    assert (interpreted[name][1:2] == 0).all()
    if name in BEST:
        best = expected.max(1, keepdims=True)
        np.testing.assert_allclose(interpreted[f"{name}, best"], best, rtol=0, atol=1e-5)


@needs_triton
def test_compiles_for_an_h100_without_spilling_registers():
    # What the assembler for compute capability 9.0 says; it needs no GPU.
    usage = in_own_process("test.compile_for_h100()", interpreted=False)
    kernels = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", usage)
    assert [name for name, *_ in kernels] == ["_marginal_kernel", "_score_kernel"]
    for _, registers, stack, local in kernels:
        assert int(registers) <= 128
        assert stack == local == "0"


def test_tells_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "chiasm.lmi.triton_engine", raising=False)
    with pytest.raises(UsageError, match=r"engine triton: .*not installed; legal: pip install"):
        importlib.import_module("chiasm.lmi.triton_engine")


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 65, 70), (1, 20, 21, 22)])
def test_on_a_gpu_equals_the_definition(shape, kind):
    from chiasm.lmi.triton_engine import TritonEngine

    source, other = map(torch.from_numpy, pair(kind, shape))
    expected = Definition(source, LMISettings())(other, True)
    for memory in (AMPLE, 2**18):
        engine = TritonEngine(source.cuda(), LMISettings(), memory)
        torch.testing.assert_close(engine(other.cuda(), True).cpu(), expected, rtol=0, atol=1e-5)
        best = engine(other.cuda(), False).cpu()
        torch.testing.assert_close(best, expected.amax(1, keepdim=True), rtol=0, atol=1e-5)
