"""Loss guidance: up the gradient of agreement, so far and no further, sample by sample."""

import pytest
import torch
from torch.nn import functional

from chiasm.diffusion.codec import ImageCodec
from chiasm.diffusion.loss_guidance import LossGuidanceSettings, guided_by_loss
from chiasm.diffusion.sampling import NoiseSchedule, first_noise, generators, sample
from chiasm.lmi.definition import patch_scores
from chiasm.lmi.settings import LMISettings

decode = ImageCodec().decode
# One step, by the agreement that is written out below.
ONE = {"steps": 1, "patch_size": 3, "bins": 27, "bandwidth": 8 / 255}


def scene(shape=(2, 1, 12, 10), seed=0):
    """Sources of piecewise constant tissues with some noise, background on the left."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((*shape[:2], *(n // 2 for n in shape[2:])), generator=generator)
    image = functional.interpolate(coarse, size=shape[2:], mode="nearest") * 0.7 + 0.15
    image = image + 0.02 * torch.rand(shape, generator=generator)
    image[..., :2, :] = 0
    return image


def estimate(x_t, time):
    """An unconditional model that has an estimate for any x_t: within the range, and dull."""
    return torch.tanh(x_t) * 0.6


def agreement(source, image):
    """Mean of the scores in the head, by the definition of a score, (B,) in float64."""

    def patches(images):
        edged = functional.pad(images.double().clamp(0, 1), [1] * 4, mode="replicate")
        return edged.unfold(2, 3, 1).unfold(3, 3, 1).reshape(*images.shape, 9)

    head = source > 0
    inside = patches(source), patches(image * head)
    return torch.stack(
        [
            patch_scores(inside[0][k][head[k]], inside[1][k][head[k]], LMISettings()).mean()
            for k in range(len(source))
        ]
    )


def guided_once(source, x_t, **settings):
    denoise = guided_by_loss(estimate, source, decode, LossGuidanceSettings(**ONE | settings))
    return denoise(x_t, torch.full((len(x_t),), 500)) - estimate(x_t, None)


def test_an_estimate_moves_up_the_gradient_of_agreement():
    source = scene((2, 1, 8, 7))
    x_t = torch.randn(source.shape, generator=torch.Generator().manual_seed(1))
    x0 = estimate(x_t, None).double()
    moved = guided_once(source, x_t, strength=0.1).double()
    slopes = torch.zeros_like(x0)
    for place in (source > 0)[0, 0].nonzero().tolist():
        ahead, behind = (x0.clone() for _ in range(2))
        at = (slice(None), 0, *place)
        ahead[at] += 1e-5
        behind[at] -= 1e-5
        rise = agreement(source, decode(ahead)) - agreement(source, decode(behind))
        slopes[at] = rise / 2e-5
    for k in range(2):
        alike = functional.cosine_similarity(moved[k].flatten(), slopes[k].flatten(), dim=0)
        assert float(alike) > 0.9999


@pytest.mark.parametrize("steps", [1, 3])
def test_the_strength_is_how_far_the_head_moves(steps):
    source = scene()
    x_t = torch.randn(source.shape, generator=torch.Generator().manual_seed(1))
    moved = guided_once(source, x_t, strength=0.05, steps=steps)
    for k in range(2):
        inside = source[k] > 0
        size = float(moved[k][inside].square().mean().sqrt())
        assert size == pytest.approx(0.05, rel=1e-4) if steps == 1 else 0.02 < size <= 0.0501
        assert (moved[k][~inside] == 0).all()


def result(source, **settings):
    """Of four steps of DDIM."""
    solver = NoiseSchedule().scheduler("ddim", "x0")
    denoise = guided_by_loss(estimate, source, decode, LossGuidanceSettings(**ONE | settings))
    streams = generators(0, range(len(source)))
    return sample(denoise, solver, 4, first_noise(source.shape[1:], streams))


def test_agreement_rises_with_strength_and_with_steps():
    source = scene()
    scores = torch.stack(
        [
            agreement(source, decode(result(source, strength=strength, steps=steps)))
            for strength, steps in [(0, 1), (0.02, 1), (0.1, 1), (0.3, 6)]
        ]
    )
    assert (scores.diff(dim=0) > 0.01).all()
    # One step that is longer than the kernel is wide goes too far.
    too_far = agreement(source, decode(result(source, strength=0.3, steps=1)))
    assert (too_far < scores[-1]).all()


def test_no_strength_is_the_plain_sampler():
    source = scene()
    solver = NoiseSchedule().scheduler("ddim", "x0")
    start = first_noise(source.shape[1:], generators(0, range(2)))
    assert torch.equal(result(source, strength=0), sample(estimate, solver, 4, start))


def test_samples_do_not_see_each_other_and_a_black_one_stays():
    source = scene((3, 1, 12, 10))
    source[2] = 0
    together = result(source, strength=0.1)
    torch.testing.assert_close(result(source[:1], strength=0.1), together[:1])
    torch.testing.assert_close(result(source, strength=0)[2], together[2])


def test_volumes_are_guided_and_inference_mode_does_not_matter():
    source = scene((1, 1, 6, 6, 4))
    outside = result(source, strength=0.1)
    with torch.inference_mode():
        inside = result(source.clone(), strength=0.1)
    assert not torch.equal(outside, result(source, strength=0))
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("settings", [{"patch_size": 4}, {"strength": -1}, {"steps": 0}])
def test_illegal_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LossGuidanceSettings(**settings)


def test_a_larger_patch_is_a_setting():
    source = scene()
    x_t = torch.randn(source.shape, generator=torch.Generator().manual_seed(1))
    small, large = (guided_once(source, x_t, patch_size=size) for size in (3, 5))
    assert not torch.allclose(small, large)


def test_slices_of_a_volume_are_guided_as_images():
    volume = scene((1, 1, 8, 8, 4))
    x_t = torch.randn(volume.shape, generator=torch.Generator().manual_seed(1))
    moved = guided_once(volume, x_t, strength=0.1, slices=True)
    together = guided_once(volume, x_t, strength=0.1)
    assert not torch.allclose(moved, together)
    for k in range(volume.shape[-1]):
        alone = guided_once(volume[..., k], x_t[..., k], strength=0.1)
        # Each is as long as its own head allows; the way is the same.
        own = moved[..., k] / moved[..., k].norm()
        torch.testing.assert_close(own, alone / alone.norm(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 1, 20, 18), (1, 1, 9, 8, 7)])
def test_with_quantile_bins_the_move_does_not_depend_on_the_contrast_of_the_source(shape):
    generator = torch.Generator().manual_seed(3)
    source = 0.05 + 0.9 * torch.rand(shape, generator=generator)
    source[:, :, :2] = 0
    changed = source**3
    x_t = torch.randn(shape, generator=generator)
    moves = {}
    for binning in ("uniform", "quantile"):
        pair = [guided_once(one, x_t, strength=0.1, binning=binning) for one in (source, changed)]
        for move in pair:
            assert move.isfinite().all()
            assert (move[:, :, :2] == 0).all()
            assert move.abs().max() > 0
        moves[binning] = functional.cosine_similarity(*(one.flatten() for one in pair), dim=0)
    assert moves["quantile"] > 0.99
    assert moves["uniform"] < 0.9


def test_with_quantile_bins_each_slice_can_have_its_own_distribution():
    source = scene((1, 1, 12, 10, 3))
    source[..., 2] = 0  # no foreground, no distribution
    x_t = torch.randn(source.shape, generator=torch.Generator().manual_seed(4))
    move = guided_once(source, x_t, strength=0.1, binning="quantile", slices=True)
    assert move.isfinite().all()
    assert (move[..., 2] == 0).all()
    assert (move[..., :2].abs().amax((0, 1, 2, 3)) > 0).all()
