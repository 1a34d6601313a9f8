"""A U-Net for each source modality: who sees what, on any size."""

import pytest
import torch

from chiasm.methods.aldm.ms_spade import LatentTranslator
from chiasm.methods.aldm.source_unets import SourceUNets

SHAPES = {2: (6, 40), 3: (5, 34, 6)}
FEATURES = (4, 4, 4, 4, 4, 4)
WHICH = torch.tensor([2, 0, 1, 1])
SOURCE = [0, 3, 0, 2]


def network(dims):
    torch.manual_seed(0)
    return SourceUNets(dims, 3, 5, features=FEATURES)


@pytest.mark.parametrize("dims", SHAPES)
def test_a_batch_is_its_samples_one_by_one(dims):
    unets, z = network(dims).eval(), torch.randn(4, 5, *SHAPES[dims])
    made = unets(z, WHICH, SOURCE)
    alone = [unets(z[k : k + 1], WHICH[k : k + 1], SOURCE[k : k + 1]) for k in range(4)]
    assert made.shape == z.shape
    torch.testing.assert_close(made, torch.cat(alone), atol=1e-5, rtol=1e-4)
    for other in (
        unets(z, (WHICH + 1) % 3, SOURCE),
        unets(z, WHICH, [(one + 1) % 4 for one in SOURCE]),
    ):
        assert (other - made).flatten(1).abs().amax(1).min() > 1e-3


def test_only_the_sources_of_a_batch_learn():
    unets = network(3)
    unets(torch.randn(4, 5, *SHAPES[3]), WHICH, SOURCE).square().sum().backward()
    learned = [any(p.grad is not None for p in one.parameters()) for one in unets.networks]
    assert learned == [True, False, True, True]


def test_one_small_sample_trains():
    unets = network(3).train()
    z, wanted = torch.randn(2, 1, 5, 4, 4, 4)
    optimiser = torch.optim.Adam(unets.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        loss = (unets(z, WHICH[:1], SOURCE[:1]) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("features", [(4, 4), (4, 4, 4, 4, 4, 0)])
def test_features_that_make_no_network_are_refused(features):
    with pytest.raises(ValueError, match="features"):
        SourceUNets(3, 3, 5, features=features)


@pytest.mark.parametrize("dims", SHAPES)
def test_all_targets_at_once_are_each_of_them(dims):
    torch.manual_seed(0)
    spade = LatentTranslator(dims, 3, 5, features=(4,), hidden=4)
    z = torch.randn(4, 5, *SHAPES[dims])
    for translator in (network(dims).eval(), spade):
        every = translator.every(z, SOURCE)
        assert every.shape == (4, 3, *z.shape[1:])
        for target in range(3):
            alone = translator(z, torch.full((4,), target), SOURCE)
            torch.testing.assert_close(every[:, target], alone, atol=1e-5, rtol=1e-4)
