"""All targets of one source at once: the mean of what each would have cost alone."""

from dataclasses import replace

import pytest
import torch

from chiasm.errors import UsageError
from chiasm.methods.aldm.denoiser import LatentDenoiser, LatentDiffusionSettings, LatentSettings
from chiasm.methods.aldm.objective import ALDMObjective, LatentTranslatorObjective
from chiasm.networks import NetworkSettings
from chiasm.training.batch import Batch
from chiasm.training.settings import training_settings

LATENT = {
    "autoencoder": {"channels": [4], "codes": 8, "latent": 3},
    "translator": {"name": "source-unets", "features": [4, 4, 4, 4, 4, 4]},
}
NETWORK = {
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "norm_num_groups": 4,
}


def objective(*, cycle=0.0, **changed):
    settings = training_settings("aldm", "T1w", None, (), ("T2w", "FLAIR")).of_stage("translator")
    losses = settings.losses.model_copy(update={"cycle": cycle})
    settings = settings.model_copy(update={"losses": losses, "any_contrast": 0.0} | changed)
    torch.manual_seed(0)
    module = LatentDenoiser(
        NetworkSettings(name="diffusion-unet", arguments=NETWORK),
        LatentDiffusionSettings(parameterisation="x0"),
        LatentSettings.model_validate(LATENT),
        spatial_dims=3,
        modalities=3,
    )
    # Batch statistics would depend on who else is there.
    return LatentTranslatorObjective(settings, module.eval())


def batch(source, target):
    generator = torch.Generator().manual_seed(1)
    every = torch.rand(2, 3, 32, 32, 32, generator=generator)
    return Batch(
        image=every[:, target][:, None],
        mask=torch.ones(2, 1, 32, 32, 32, dtype=torch.bool),
        population=torch.linspace(0, 1, 5).expand(2, 5),
        source=every[:, source][:, None],
        source_mask=torch.ones(2, 1, 32, 32, 32, dtype=torch.bool),
        modality=torch.full((2,), target),
        source_modality=torch.full((2,), source),
        every=every,
    )


@pytest.mark.parametrize("source", [0, 1, 2])
def test_the_mean_over_all_other_modalities(source):
    generator = torch.Generator().manual_seed(0)
    together = objective(all_targets=True).loss(batch(source, (source + 1) % 3), generator)
    each = [objective().loss(batch(source, target), generator) for target in {0, 1, 2} - {source}]
    torch.testing.assert_close(together, torch.stack(each).mean())


@pytest.mark.parametrize(("error", "power"), [("absolute", 1), ("squared", 2)])
def test_the_error_is_of_the_latents(error, power):
    chosen, one = objective(all_targets=True, error=error), batch(1, 2)
    found = chosen.loss(one, torch.Generator())
    module = chosen.module
    source = module.codec.encode(one.source)
    differences = []
    for target in (0, 2):
        made = module.translator(source, torch.full((2,), target), [1, 1])
        differences.append(made - module.codec.encode(one.every[:, target][:, None]))
    torch.testing.assert_close(found, (torch.stack(differences).abs() ** power).mean())


def test_a_constant_learns_the_median_or_the_mean():
    """Of what the source does not tell: seven times 0, three times 1."""
    chosen = objective(error="squared")
    values = torch.tensor([0.0] * 7 + [1.0] * 3)
    for error, expected in (("absolute", 0.0), ("squared", 0.3)):
        told = chosen.settings.model_copy(update={"error": error})
        own = LatentTranslatorObjective(told, chosen.module)
        grid = torch.linspace(0, 1, 101)
        losses = torch.stack([own.error(value, values).mean() for value in grid])
        assert grid[losses.argmin()] == pytest.approx(expected)


def test_random_contrast_is_made_to_all_by_the_network_of_unseen_modalities():
    chosen = objective(all_targets=True, any_contrast=1.0)
    chosen.loss(batch(0, 1), torch.Generator().manual_seed(0)).backward()
    networks = chosen.module.translator.networks
    learned = [any(p.grad is not None for p in one.parameters()) for one in networks]
    assert learned == [False, False, False, True]
    # Every head of it: the last convolution's bias has a gradient for all targets.
    assert networks[3].network.final_conv.bias.grad.unflatten(0, (3, 3)).abs().amax(1).min() > 0


def test_other_modalities_of_a_batch_do_not_matter():
    chosen, one = objective(all_targets=True), batch(0, 1)
    mixed = replace(one, source_modality=torch.tensor([0, 2]), modality=torch.tensor([1, 0]))
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(chosen.loss(one, generator), chosen.loss(mixed, generator))


def test_a_cycle_is_refused():
    with pytest.raises(UsageError, match="all_targets"):
        training_settings("aldm", "T1w", None, ("all_targets=true",), ("T2w",))


@pytest.mark.parametrize(("all_targets", "cycle"), [(True, 0.0), (False, 0.0), (False, 0.5)])
@pytest.mark.parametrize("stage", ["translator", "diffusion"])
def test_latents_that_are_there_are_not_computed_again(stage, all_targets, cycle, monkeypatch):
    """The same loss, and nothing encoded but what is under random contrast."""
    chosen, one = objective(all_targets=all_targets, any_contrast=0.5, cycle=cycle), batch(0, 1)
    if stage == "diffusion":
        chosen = ALDMObjective(chosen.settings, chosen.module)
    codec, encoded = chosen.module.codec, []
    every, encode = one.every.flatten(0, 1)[:, None], codec.encode
    latents = encode(every).detach().unflatten(0, one.every.shape[:2])
    monkeypatch.setattr(codec, "encode", lambda x: encoded.append(len(x)) or encode(x))
    for seed in range(4):
        expected = chosen.loss(one, torch.Generator().manual_seed(seed))
        encoded.clear()
        found = chosen.loss(replace(one, latents=latents), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(found, expected)
        assert sum(encoded) <= len(one.image)
