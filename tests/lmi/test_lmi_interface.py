"""What goes in and comes out: types, shapes, threads, and refusals of one line."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from chiasm.errors import UsageError
from chiasm.lmi import LMISettings, local_mutual_information, patch_mutual_information, prepare

SHAPES = [(7, 8), (3, 4, 5), (2, 1, 7, 8), (2, 1, 3, 4, 5)]


def uniform(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_and_tensors_give_the_same(shape):
    source, other = uniform(shape, 1), uniform(shape, 2)
    scores = local_mutual_information(source, other)
    assert isinstance(scores, np.ndarray)
    assert scores.dtype == np.float32
    assert scores.shape == shape
    tensors = torch.from_numpy(source).requires_grad_(), torch.from_numpy(other)
    result = local_mutual_information(*tensors)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32
    assert not result.requires_grad
    np.testing.assert_array_equal(result, scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types(dtype):
    source, other = torch.from_numpy(uniform((2, 9, 10))).to(dtype)
    expected = local_mutual_information(source.float(), other.float())
    result = local_mutual_information(source, other)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_layout_in_memory_does_not_matter():
    source, other = uniform((9, 10), 1), uniform((9, 10), 2)
    expected = local_mutual_information(source, other)
    turned = np.asfortranarray(source)[:], other[::-1][::-1]
    np.testing.assert_array_equal(local_mutual_information(*turned), expected)
    swapped = source.astype(">f4"), torch.from_numpy(other.T.copy()).T.numpy()
    np.testing.assert_array_equal(local_mutual_information(*swapped), expected)
    source.setflags(write=False)
    np.testing.assert_array_equal(local_mutual_information(source, other), expected)


def test_arguments_are_left_alone():
    source, other = uniform((9, 10), 1) * 3 - 1, uniform((9, 10), 2) * 3 - 1
    before = source.copy(), other.copy()
    prepared = prepare(source)
    expected = prepared(other)
    np.testing.assert_array_equal((source, other), before)
    source[:] = 0
    np.testing.assert_array_equal(prepared(other), expected)


def test_prepared_source_serves_many_others():
    source, others = uniform((11, 12)), uniform((3, 11, 12), 1)
    settings = {"patch_size": 5, "search_size": 1, "bins": 16, "normalized": False}
    prepared = prepare(source, **settings)
    assert prepared.settings == LMISettings(**settings)
    assert prepared.offsets == 1
    for other in others:
        np.testing.assert_array_equal(
            prepared(other), local_mutual_information(source, other, **settings)
        )


def test_number_of_threads_does_not_matter():
    source, other = uniform((40, 41), 1), uniform((40, 41), 2)
    prepared = prepare(source)
    expected = prepared(other)
    torch.set_num_threads(3)
    np.testing.assert_array_equal(prepared(other), expected)
    # Several callers at once, beside torch's own parallel work.
    with ThreadPoolExecutor(4) as pool:
        busy = pool.submit(lambda: torch.rand(300, 300) @ torch.rand(300, 300))
        for result in pool.map(prepared, [other] * 6):
            np.testing.assert_array_equal(result, expected)
        busy.result()


def _forked(queue, source, other):
    queue.put(local_mutual_information(source, other))


def test_works_in_a_forked_worker():
    # As torch's data loader forks after the parent has used threads of its own.
    torch.rand(300, 300) @ torch.rand(300, 300)
    source, other = uniform((40, 41), 1), uniform((40, 41), 2)
    expected = local_mutual_information(source, other)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_forked, args=(queue, source, other), daemon=True)
    worker.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    worker.join()


def test_importing_the_package_loads_neither_torch_nor_numba():
    code = "import chiasm.lmi, sys; print({'torch', 'numba', 'scipy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


IMAGE = uniform((6, 7))
WRONG = {
    "even patch": ({"patch_size": 4}, "patch_size 4"),
    "patch of one pixel": ({"patch_size": 1}, "patch_size 1"),
    "patch not whole": ({"patch_size": 3.0}, "patch_size 3.0"),
    "even search": ({"search_size": 2}, "search_size 2"),
    "no search": ({"search_size": 0}, "search_size 0"),
    "one bin": ({"bins": 1}, "bins 1"),
    "bins not a number": ({"bins": "27"}, "bins 27"),
    "bandwidth zero": ({"bandwidth": 0}, "bandwidth 0"),
    "bandwidth negative": ({"bandwidth": -0.1}, "bandwidth -0.1"),
    "bandwidth NaN": ({"bandwidth": float("nan")}, "bandwidth nan"),
    "bandwidth below a quarter": ({"bandwidth": 0.0096}, "bandwidth 0.0096: .* 0.00961538"),
    "no memory": ({"memory": 1000}, "memory 1000"),
    "memory not whole": ({"memory": 1e9}, "memory 1000000000.0"),
    "reduce": ({"reduce": "mean"}, "reduce mean"),
    "mask of numbers": ({"mask": np.ones((6, 7), int)}, "mask int64"),
    "mask of another shape": ({"mask": np.ones((7, 6), bool)}, r"mask \(7, 6\)"),
    "mask is a list": ({"mask": [[True]]}, "mask list"),
    "normalized": ({"normalized": "yes"}, "normalized yes"),
    "integers": ({"source": np.zeros((6, 7), int)}, "source int64"),
    "integer other": ({"other": np.zeros((6, 7), np.uint8)}, "other uint8"),
    "booleans": ({"other": np.zeros((6, 7), bool)}, "other bool"),
    "complex": ({"other": np.zeros((6, 7), complex)}, "other complex128"),
    "list": ({"source": [[0.0]]}, "source list"),
    "NaN in source": ({"source": np.full((6, 7), np.nan)}, "source .*NaN"),
    "NaN in other": ({"other": np.full((6, 7), np.nan)}, "other .*NaN"),
    "shapes": ({"other": uniform((6, 8))}, r"other \(6, 8\)"),
    "one dimension": ({"source": uniform(7)}, r"source \(7,\)"),
    "two channels": ({"source": uniform((1, 2, 6, 7))}, r"source \(1, 2, 6, 7\)"),
    "six dimensions": ({"source": uniform((1,) * 6)}, "source"),
    "empty": ({"source": uniform((0, 7))}, r"source \(0, 7\)"),
    "tensor and array": ({"other": torch.from_numpy(IMAGE)}, "other cpu tensor"),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=WRONG)
def test_refusals_name_argument_and_value(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}") as caught:
        local_mutual_information(**{"source": IMAGE, "other": IMAGE} | arguments)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)


def test_integer_tensors_are_refused():
    with pytest.raises(ValueError, match=r"source torch\.int64"):
        local_mutual_information(torch.zeros(6, 7, dtype=torch.long), torch.zeros(6, 7))


def test_prepared_refusals():
    with pytest.raises(ValueError, match="reduce min"):
        prepare(IMAGE)(IMAGE, reduce="min")
    with pytest.raises(TypeError, match="patchsize"):
        prepare(IMAGE, patchsize=3)


def test_pairs_of_patches_refused():
    for x, y, named in (
        (uniform((2, 3, 3)), uniform((3, 3, 3)), "x, y"),
        (uniform(9), uniform(9), "x, y"),
        (uniform((2, 3)), torch.zeros(2, 3), "y Tensor"),
        (uniform((2, 3)), np.zeros((2, 3), int), "y int64"),
    ):
        with pytest.raises(ValueError, match=f"^{named}"):
            patch_mutual_information(x, y)
