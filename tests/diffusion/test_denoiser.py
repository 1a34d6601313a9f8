"""The denoiser: guides dropped and weighed, any dimension, any sample space."""

import pytest
import torch

from chiasm import registry
from chiasm.diffusion.denoiser import Denoiser, DiffusionSettings
from chiasm.diffusion.sampling import alphas_cumprod_of, first_noise, generators, sample
from chiasm.guides import GuideSet, guide_from_config
from chiasm.networks import NetworkSettings

NETWORK = NetworkSettings(
    name="diffusion-unet",
    arguments={
        "channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
)


def denoiser(dims=2, images=1, guides=({"name": "source"},), **settings):
    torch.manual_seed(0)
    one = Denoiser(
        NETWORK,
        DiffusionSettings(**settings),
        GuideSet([guide_from_config(guide) for guide in guides]),
        spatial_dims=dims,
        images=images,
    )
    for weight in one.parameters():  # MONAI begins with an output layer of zeros
        torch.nn.init.normal_(weight, std=0.2)
    return one.eval().requires_grad_(False)


def sampled(one, source, *, steps=2, **bound):
    settings = one.settings
    solver = settings.schedule.scheduler(settings.scheduler, settings.parameterisation)
    bind = one.bind(source, alphas_cumprod=alphas_cumprod_of(solver), **bound)
    size = [n // one.codec.factor for n in source.shape[2:]]
    streams = generators(0, range(len(source)))
    start = first_noise((one.codec.channels, *size), streams)
    return one.codec.decode(sample(bind, solver, steps, start, streams))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("images", [1, 3])
def test_any_dimension_and_context(dims, images):
    guides = ({"name": "source"}, {"name": "lmi", "reduce": "none"}, {"name": "mind"})
    one = denoiser(dims, images, guides)
    source = torch.rand((2, images, *(8, 12, 6)[:dims]))
    result = sampled(one, source)
    assert result.shape == (2, 1, *source.shape[2:])
    # Each is what it is alone, and not the other.
    torch.testing.assert_close(sampled(one, source[:1]), result[:1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(result[0], result[1], atol=0.01)


def test_guidance_extrapolates_from_the_unguided():
    one = denoiser()
    source, x, time = torch.rand((1, 1, 8, 8)), torch.randn((1, 1, 8, 8)), torch.tensor([500])
    weights = {w: one.bind(source, guidance=w)(x, time) for w in (0.0, 1.0, 2.5)}
    unguided = one.bind(None)(x, time)
    assert torch.equal(weights[0.0], unguided)
    assert not torch.allclose(weights[1.0], unguided)
    expected = unguided + 2.5 * (weights[1.0] - unguided)
    torch.testing.assert_close(weights[2.5], expected)


def test_the_guide_is_called_at_every_evaluation_with_x_t():
    one = denoiser()
    seen = []

    class Spy(torch.nn.Module):
        needs_sample = True

        def prepare(self, source, randomised=None):
            seen.append("prepared")

            def guide(x_t, time):
                seen.append((x_t.clone(), int(time[0])))
                return source

            return guide

        randomised = False

    one.guides = Spy()
    sampled(one, torch.rand((1, 1, 8, 8)), steps=4)
    assert seen[0] == "prepared"
    assert seen.count("prepared") == 1
    assert [time for _, time in seen[1:]] == [999, 749, 499, 249]
    assert not torch.allclose(seen[1][0], seen[2][0])


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_are_those_of_the_paper(gamma):
    """Hang et al. 2023: min(SNR, γ) for x0, over SNR for ε, over SNR + 1 for v."""
    one = denoiser()
    time = torch.tensor([1, 100, 300, 600, 900, 998])
    alpha, sigma = one.amplitudes(time, one.alphas_cumprod.double(), 1)
    snr = (alpha / sigma).double() ** 2
    assert snr.max() > 5 > 1 > snr.min()
    least = snr.clamp(max=gamma)
    for name, expected in {"x0": least, "epsilon": least / snr, "v": least / (snr + 1)}.items():
        kind = registry.PARAMETERISATIONS.load(name)()
        weights = kind.min_snr(alpha.double(), sigma.double(), gamma)
        torch.testing.assert_close(weights, expected.double(), rtol=1e-5, atol=1e-12)
        # An error of 1 in the prediction weighs what the error of x0 that it means does, squared.
        here, none = torch.ones_like(alpha), torch.zeros_like(alpha)
        of_x0 = kind.x0(here, none, alpha, sigma).double()
        torch.testing.assert_close(weights, least * of_x0**2, rtol=1e-4, atol=1e-12)
    noise = registry.PARAMETERISATIONS.load("epsilon")()
    assert float(noise.min_snr(torch.tensor(0.0), torch.tensor(1.0), gamma)) == 1  # the limit


@pytest.mark.parametrize("parameterisation", ["v", "x0", "epsilon"])
def test_x0_is_what_the_parameterisation_says(parameterisation):
    """Noise of known x0: the true prediction gives x0 back at any time with signal."""
    one = denoiser(parameterisation=parameterisation, schedule={"zero_terminal_snr": False})
    x0, noise = torch.randn((3, 1, 8, 8)), torch.randn((3, 1, 8, 8))
    time = torch.tensor([0, 300, 800])
    alpha, sigma = one.amplitudes(time, one.alphas_cumprod, 4)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    x_t = alpha * x0 + sigma * noise
    output = one.parameterisation.target(x0, noise, alpha, sigma)
    back = one.parameterisation.x0(output, x_t, alpha, sigma)
    torch.testing.assert_close(back, x0, atol=1e-3, rtol=1e-3)
