"""The precision of a training fits the device."""

import pytest
import torch

from chiasm.machine.device import fast_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, "32-true"),
        ({"avx2": True, "avx512_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({"cpu_name": "a name", "l1d_cache_size": 32768}, "32-true"),
    ],
)
def test_a_cpu_trains_in_bfloat16_only_if_it_computes_in_it(able, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert fast_precision(CPU) == expected


def test_other_devices():
    assert fast_precision(torch.device("mps")) == "32-true"
