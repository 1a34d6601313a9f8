"""LMI diffusion that starts from the translation by another model."""

import numpy as np
import pytest

from chiasm.errors import UsageError
from chiasm.image.volume import Volume
from chiasm.methods.load import load_translator


@pytest.fixture(scope="module")
def scan():
    """A ball of two tissues, off the centre of an oblique grid."""
    i, j, k = np.meshgrid(*map(np.arange, (40, 36, 24)), indexing="ij")
    radius = np.sqrt((i - 20) ** 2 + (j - 17) ** 2 + (2 * (k - 11)) ** 2)
    array = np.where(radius < 15, np.where(radius < 9, 80, 120), 0).astype(np.float32)
    return Volume(array, np.diag([2.0, 2, 4, 1]), modality="T2w")


def test_the_diffusion_starts_from_the_estimate_with_the_noise_of_its_time(scan, monkeypatch):
    seen = []

    def identity(self, source, alphas_cumprod):
        def denoise(x, time):
            seen.append(int(time[0]))
            return x

        return denoise

    options = {"estimate": "brain-t1", "edit_from": 0.001, "steps": 1000, "detail": False}
    translator = load_translator("brain-t1-lmi", **options)
    monkeypatch.setattr(type(translator), "denoiser", identity)
    made = translator.translate(scan).volume
    # The denoiser changes nothing and the noise of the earliest time is small, so the result is the
    # estimate, as it looks on the grid of the diffusion model.
    estimate = load_translator("brain-t1").translate(scan).volume
    inside = estimate.array > 0
    assert np.unique(seen).tolist() == [0]
    assert made.same_grid(scan)
    assert (made.modality, made.units) == ("T1w", estimate.units)
    assert np.abs(made.array - estimate.array)[inside].mean() < 0.02 * np.ptp(estimate.array)


def test_a_larger_share_leaves_less_of_the_estimate(scan):
    estimate = load_translator("brain-t1").translate(scan).volume.array
    away = []
    for share in (0.125, 1.0):
        translator = load_translator("brain-t1-lmi", estimate="brain-t1", edit_from=share, steps=8)
        made = translator.translate(scan)
        away.append(float(np.abs(made.volume.array - estimate).mean()))
        assert made.record["edit_from"] == share
        assert made.record["estimate"]["model"] == "brain-t1"
    assert away[0] < away[1]


def test_the_fingerprint_covers_both_models():
    alone, begun, estimate = (
        load_translator(model, **options).fingerprint
        for model, options in (
            ("brain-t1-lmi", {}),
            ("brain-t1-lmi", {"estimate": "brain-t1"}),
            ("brain-t1", {}),
        )
    )
    assert begun == f"{alone}+{estimate}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"edit_from": 0.3}, "--edit-from.*with --estimate MODEL"),
        ({"estimate": "no-such-model"}, "no-such-model"),
        ({"estimate": "brain-t1-tissue"}, "segmenter"),
    ],
)
def test_what_cannot_be_an_estimate_is_refused(options, told):
    with pytest.raises(UsageError, match=told):
        load_translator("brain-t1-lmi", **options)
