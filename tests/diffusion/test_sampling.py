"""Samplers against a Gaussian, whose exact denoiser is known."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from chiasm.diffusion.sampling import (
    NoiseSchedule,
    alphas_cumprod_of,
    first_noise,
    generators,
    sample,
)
from chiasm.errors import UsageError
from chiasm.registry import PARAMETERISATIONS, SCHEDULERS

MEAN, STD = 0.3, 0.2


def exact_x0(x, alpha, sigma):
    """E[x0 | x_t] for x0 ~ N(MEAN, STD²)."""
    gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    return MEAN + gain * (x - alpha * MEAN)


def exact_denoiser(parameterisation, signal):
    """A network that predicts exactly, seen through a parameterisation's x0."""
    kind = PARAMETERISATIONS.load(parameterisation)()

    def denoise(x, time):
        kept = signal[time.long()].view(-1, *(1,) * (x.ndim - 1))
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        best = exact_x0(x, alpha, sigma)
        noise = (x - alpha * best) / sigma
        output = kind.target(best, noise, alpha, sigma)
        return kind.x0(output, x, alpha, sigma)

    return denoise


def run(scheduler, parameterisation, steps, schedule, count=20000):
    solver = schedule.scheduler(scheduler, parameterisation)
    start = torch.randn((4, 1, count // 4), generator=torch.Generator().manual_seed(1)).double()
    denoise = exact_denoiser(parameterisation, alphas_cumprod_of(solver))
    return sample(denoise, solver, steps, start, generators(0, range(4)))


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_gaussian_comes_out_within_5_percent(scheduler, parameterisation, zero_terminal_snr):
    schedule = NoiseSchedule(zero_terminal_snr=zero_terminal_snr)
    if zero_terminal_snr and parameterisation == "epsilon" and scheduler in ("ddim", "ddpm"):
        with pytest.raises(UsageError, match=r"epsilon.*alpha = 0"):
            schedule.scheduler(scheduler, parameterisation)
        return
    result = run(scheduler, parameterisation, 1000 if scheduler == "ddpm" else 500, schedule)
    assert float(result.mean()) == pytest.approx(MEAN, rel=0.05)
    assert float(result.std()) == pytest.approx(STD, rel=0.05)


def times_of(steps, count):
    """Trailing spacing: the last time first, then evenly down."""
    return np.round(np.arange(count, 0, -count / steps)).astype(int) - 1


@pytest.mark.parametrize("steps", [5, 7])
@pytest.mark.parametrize("parameterisation", ["v", "x0"])
def test_ddim_at_few_steps_is_its_recursion(parameterisation, steps):
    schedule = NoiseSchedule()
    solver = schedule.scheduler("ddim", parameterisation)
    signal = alphas_cumprod_of(solver)
    start = torch.randn((1, 1, 64), generator=torch.Generator().manual_seed(0)).double()
    result = sample(exact_denoiser(parameterisation, signal), solver, steps, start)
    x, kept = start.numpy(), signal.numpy()
    for t in times_of(steps, schedule.times):
        a, b = np.sqrt(kept[t]), np.sqrt(1 - kept[t])
        to = t - schedule.times // steps
        to = kept[to] if to >= 0 else float(solver.final_alpha_cumprod)
        x0 = exact_x0(x, a, b)
        x = np.sqrt(to) * x0 + np.sqrt(1 - to) * (x - a * x0) / b
    np.testing.assert_allclose(result.numpy(), x, atol=1e-9)


def test_ddpm_at_few_steps_has_the_variance_of_its_recursion():
    schedule = NoiseSchedule()
    steps = 10
    result = run("ddpm", "v", steps, schedule, count=400_000)
    solver = schedule.scheduler("ddpm", "v")
    kept = alphas_cumprod_of(solver).numpy()
    mean, variance = 0.0, 1.0
    times = times_of(steps, schedule.times)
    for t, s in zip(times, [*times[1:], None], strict=True):
        here, there = kept[t], 1.0 if s is None else kept[s]
        ratio = here / there
        gain = np.sqrt(here) * STD**2 / (here * STD**2 + 1 - here)
        offset = MEAN - gain * np.sqrt(here) * MEAN
        of_x0 = np.sqrt(there) * (1 - ratio) / (1 - here)
        of_x = np.sqrt(ratio) * (1 - there) / (1 - here)
        slope = of_x0 * gain + of_x
        mean = slope * mean + of_x0 * offset
        variance = slope**2 * variance
        if s is not None:
            variance += (1 - there) / (1 - here) * (1 - ratio)
    assert float(result.mean()) == pytest.approx(mean, abs=2e-3)
    assert float(result.std()) == pytest.approx(np.sqrt(variance), rel=0.01)


@pytest.mark.parametrize("scheduler", ["dpm++", "unipc"])
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_few_steps_are_the_schedulers_own(scheduler, parameterisation):
    """Feeding x0 equals feeding the scheduler the prediction in its own parameterisation."""
    schedule = NoiseSchedule(zero_terminal_snr=False)
    ours = schedule.scheduler(scheduler, parameterisation)
    signal = alphas_cumprod_of(ours)
    start = torch.randn((1, 1, 64), generator=torch.Generator().manual_seed(0)).double()
    result = sample(exact_denoiser(parameterisation, signal), ours, 6, start)
    native = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}[parameterisation]
    theirs = type(ours).from_config(ours.config, prediction_type=native)
    theirs.set_timesteps(6)
    kind, x = PARAMETERISATIONS.load(parameterisation)(), start
    for time in theirs.timesteps:
        alpha, sigma = signal[time].sqrt(), (1 - signal[time]).sqrt()
        best = exact_x0(x, alpha, sigma)
        output = kind.target(best, (x - alpha * best) / sigma, alpha, sigma)
        x = theirs.step(output, time, x).prev_sample
    np.testing.assert_allclose(result.numpy(), x.numpy(), atol=1e-4)


@pytest.mark.parametrize("parameterisation", ["v", "x0"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_any_number_of_steps_down_to_one(scheduler, parameterisation):
    """One step is the denoiser's own estimate from pure noise; more come nearer to the truth."""
    schedule = NoiseSchedule()
    solver = schedule.scheduler(scheduler, parameterisation)
    start = torch.randn((1, 1, 64), generator=torch.Generator().manual_seed(0)).double()
    denoise = exact_denoiser(parameterisation, alphas_cumprod_of(solver))
    one = sample(denoise, solver, 1, start, generators(0, [0]))
    expected = denoise(start, torch.tensor([schedule.times - 1]))
    np.testing.assert_allclose(one.numpy(), expected.numpy(), atol=1e-6)
    errors = []
    for steps in (1, 2, 4, 8, 20):
        result = run(scheduler, parameterisation, steps, schedule)
        assert float(result.mean()) == pytest.approx(MEAN, abs=0.02)
        errors.append(abs(float(result.std()) - STD))
    assert errors[-1] < 0.4 * errors[0]


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_signal_is_diffusers_own(schedule):
    ours = NoiseSchedule(beta_schedule=schedule)
    signal = ours.alphas_cumprod()
    theirs = DDIMScheduler(
        beta_schedule=schedule, beta_start=1e-4, beta_end=0.02, rescale_betas_zero_snr=True
    ).alphas_cumprod
    np.testing.assert_allclose(signal.numpy(), theirs.numpy(), atol=1e-5)
    assert float(signal[-1]) == 0
    assert (signal.diff() < 0).all()


def test_editing_starts_at_the_given_time():
    """From time s on, the source is kept up to noise: std and mean of what is started from."""
    schedule = NoiseSchedule()
    solver = schedule.scheduler("ddim", "v")
    seen = []

    def denoise(x, time):
        seen.append((int(time[0]), x.clone()))
        return x

    start = torch.full((2, 1, 4000), 0.5).double()
    sample(denoise, solver, 10, start, generators(0, [0, 1]), from_time=0.3)
    assert [time for time, _ in seen] == [299, 199, 99]
    kept = alphas_cumprod_of(solver)[299]
    assert float(seen[0][1].mean()) == pytest.approx(float(kept.sqrt() * 0.5), abs=0.05)
    assert float(seen[0][1].std()) == pytest.approx(float((1 - kept).sqrt()), rel=0.05)


def test_noise_depends_on_seed_and_place_alone():
    together = first_noise((1, 8, 8), generators(3, [4, 5, 9]))
    alone = first_noise((1, 8, 8), generators(3, [9]))
    assert torch.equal(together[2:], alone)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(alone, first_noise((1, 8, 8), generators(4, [9])))


def test_unknown_scheduler_is_refused_with_the_legal_names():
    with pytest.raises(UsageError, match=r"heun.*ddim, ddpm, dpm\+\+, unipc"):
        NoiseSchedule().scheduler("heun", "v")
