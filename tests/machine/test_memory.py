"""What a computation will hold, against what its tensors' sizes say."""

import resource

import pytest
import torch
from torch import nn

from chiasm.machine import memory
from chiasm.machine.memory import available_bytes, peak_bytes

X = torch.zeros(1, 1, 16, 16, 16)
ONE = X.numel() * X.element_size()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: x + 1, 1),
        (lambda x: (x + 1) + 1, 2),
        (lambda x: (((x + 1) + 1) + 1) + 1, 2),  # what is no longer used is free
        (lambda x: [x + k for k in range(5)], 5),
        (lambda x: x.view(-1)[1:], 0),  # a view holds nothing
        (lambda x: nn.functional.interpolate(x, scale_factor=2), 8),
    ],
)
def test_peak(call, expected):
    assert peak_bytes(call, X) == expected * ONE


def test_weights_do_not_count_and_gradients_hold_what_they_need():
    layers = nn.Sequential(*(nn.Conv3d(1, 1, 3, padding=1) for _ in range(6)))
    assert peak_bytes(layers, X) == 2 * ONE

    def differentiable(x):
        with torch.enable_grad():
            return layers(x)

    assert peak_bytes(differentiable, X) == 6 * ONE


def test_nothing_is_run():
    """A computation that no machine could hold is counted in a moment."""
    huge = torch.zeros(1).expand(1, 1, 2**11, 2**11, 2**11)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_bytes(lambda x: x + x, huge) == 2**35
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB


def test_available():
    free = available_bytes(torch.device("cpu"))
    assert 2**20 < free < 2**50
    assert available_bytes(torch.device("meta")) is None


def test_a_containers_limit(tmp_path, monkeypatch):
    """Files' caches count as used there, and are free for the asking."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    for name, text in (
        ("max", "1000000"),
        ("current", "900000"),
        ("stat", "anon 300000\nactive_file 400000\ninactive_file 150000\nslab_reclaimable 5000"),
    ):
        (tmp_path / f"memory.{name}").write_text(text)
    assert available_bytes(torch.device("cpu")) == 655000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(torch.device("cpu")) > 2**20
