"""The engine in plain torch against the float64 definitions; its gradient has its own file."""

import pytest
import torch
from lmi_images import KINDS, noise, pieces
from lmi_memory import peak_memory
from lmi_numpy import every_score

from chiasm.lmi import LMISettings
from chiasm.lmi.definition import Definition
from chiasm.lmi.torch_engine import TorchEngine

AMPLE = 2**30
CASES = {
    "default": ((9, 11), {}),
    "bits": ((9, 11), {"normalized": False}),
    "patch 5": ((7, 8), {"patch_size": 5}),
    "patch 7, no search": ((9, 10), {"patch_size": 7, "search_size": 1}),
    "search 5, 64 bins": ((5, 6), {"search_size": 5, "bins": 64}),
    "8 bins": ((9, 10), {"bins": 8, "bandwidth": 0.1}),
    "2 bins": ((9, 10), {"bins": 2, "bandwidth": 0.4}),
    "just not narrow": ((7, 8), {"bandwidth": 0.36 / 26}),
    "odd sizes": ((17, 23), {"search_size": 1}),
    "one row": ((1, 19), {}),
    "one pixel": ((1, 1), {}),
    "volume": ((5, 5, 5), {}),
    "volume, patch 5, 16 bins": ((3, 4, 5), {"patch_size": 5, "search_size": 1, "bins": 16}),
}


def images(kind, shape, seed):
    """A batch of one image."""
    return torch.from_numpy(KINDS[kind](shape, seed))[None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
def test_equals_the_numpy_definition(shape, settings, kind):
    source, other = images(kind, shape, 1), images(kind, shape, 2)
    expected = torch.from_numpy(every_score(source[0].numpy(), other[0].numpy(), **settings))[None]
    for dtype, within in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        engine = TorchEngine(source.to(dtype), LMISettings(**settings), AMPLE)
        every, best = engine(other.to(dtype), True), engine(other.to(dtype), False)
        assert every.dtype == dtype
        torch.testing.assert_close(every.double(), expected, rtol=0, atol=within)
        highest = expected.amax(1, keepdim=True)
        torch.testing.assert_close(best.double(), highest, rtol=0, atol=within)


@pytest.mark.parametrize("shape", [(3, 12, 15), (2, 4, 5, 6)])
def test_batch(shape):
    source, other = (torch.from_numpy(noise(shape, seed)) for seed in (3, 4))
    source[1] = 0.5
    expected = Definition(source, LMISettings())(other, True)
    scores = TorchEngine(source, LMISettings(), AMPLE)(other, True)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert (scores[1] == 0).all()


@pytest.mark.parametrize(("shape", "memory"), [((1, 30, 31), 2**20), ((1, 6, 7, 8), 2**21)])
def test_memory_is_bounded_and_changes_nothing(shape, memory):
    source, other = (torch.from_numpy(noise(shape, seed)) for seed in (5, 6))
    ample, scarce = (TorchEngine(source, LMISettings(), size) for size in (AMPLE, memory))
    peak, scores = peak_memory(lambda: scarce(other, False))
    assert memory / 4 < peak < memory + scores.nbytes + 2 * scores.numel()
    torch.testing.assert_close(scores, ample(other, False), rtol=0, atol=1e-6)


def test_least_memory_is_one_pixel_at_a_time():
    source, other = (torch.from_numpy(noise((1, 4, 5), seed)) for seed in (5, 6))
    ample, scarce = (TorchEngine(source, LMISettings(), size)(other, True) for size in (AMPLE, 1))
    torch.testing.assert_close(scarce, ample, rtol=0, atol=1e-6)


@pytest.mark.parametrize("normalized", [True, False])
def test_constant_patches_score_exactly_zero(normalized):
    settings = LMISettings(normalized=normalized)
    constant, other = torch.full((1, 9, 10), 0.3), torch.from_numpy(noise((1, 9, 10), 7))
    assert (TorchEngine(constant, settings, AMPLE)(other, True) == 0).all()
    assert (TorchEngine(other, settings, AMPLE)(constant, True) == 0).all()
    half = other.clone()
    half[:, :, 5:] = 2.0
    scores = TorchEngine(other, LMISettings(search_size=1), AMPLE)(half, True)
    assert (scores[..., 6:] == 0).all()
    assert (scores[..., :5] > 0).all()


def in_one(precision):
    torch.set_float32_matmul_precision(
        {"tf32": "high", "bf16": "medium", "ieee": "highest"}[precision]
    )


def by_backend(precision):
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.mkldnn.matmul.fp32_precision = precision


@pytest.mark.parametrize("choose", [in_one, by_backend])
def test_reduced_precision_around_it_changes_nothing(choose):
    source, other = (torch.from_numpy(pieces((1, 9, 10), seed)) for seed in (8, 9))
    engine = TorchEngine(source, LMISettings(), AMPLE)
    expected = engine(other, True)
    try:
        choose("tf32")
        with torch.autocast("cpu", torch.bfloat16):
            scores = engine(other, True)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        choose("ieee")
    assert torch.get_float32_matmul_precision() == "highest"
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)
