"""MS-SPADE: equal to a loop over MONAI's SPADE of each sample's modality."""

import pytest
import torch
from monai.networks.blocks.spade_norm import SPADE

from chiasm.methods.aldm.ms_spade import MSSPADE, LatentTranslator, SwitchedConvolution

SHAPES = {2: (6, 8), 3: (4, 6, 8)}
WHICH = torch.tensor([2, 0, 2, 1])


def reference(bank, modality, dims, channels, condition, hidden):
    """MONAI's SPADE with the weights of one modality of the bank."""
    one = SPADE(condition, channels, spatial_dims=dims, hidden_channels=hidden)
    weights = {
        "mlp_shared.conv": (bank.shared.weight[modality], bank.shared.bias[modality]),
        "mlp_gamma.conv": [
            part[modality].chunk(2)[0] for part in (bank.modulation.weight, bank.modulation.bias)
        ],
        "mlp_beta.conv": [
            part[modality].chunk(2)[1] for part in (bank.modulation.weight, bank.modulation.bias)
        ],
    }
    for name, (weight, bias) in weights.items():
        convolution = one.get_submodule(name)
        convolution.weight.data, convolution.bias.data = weight.detach(), bias.detach()
    # MONAI normalises what modulates too, which SPADE (Park et al., eq. 1) does not.
    for name in ("mlp_gamma", "mlp_beta"):
        one.get_submodule(name).adn = torch.nn.Identity()
    one.mlp_shared.adn.A.negative_slope = 0.2  # SPADE's, where MONAI leaves torch's
    return one


@pytest.mark.parametrize("dims", SHAPES)
def test_equals_the_loop_over_the_samples(dims):
    torch.manual_seed(0)
    bank = MSSPADE(dims, 3, channels=5, map_channels=4, hidden=7)
    torch.nn.init.normal_(bank.modulation.bias)
    x = torch.randn(len(WHICH), 5, *SHAPES[dims])
    condition = torch.randn(len(WHICH), 4, *SHAPES[dims])
    loop = [
        reference(bank, int(modality), dims, 5, 4, 7)(x[k : k + 1], condition[k : k + 1])
        for k, modality in enumerate(WHICH)
    ]
    torch.testing.assert_close(bank(x, condition, WHICH), torch.cat(loop), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", SHAPES)
def test_gradients_reach_the_modalities_of_the_batch_alone(dims):
    bank = SwitchedConvolution(dims, 4, 2, 3)
    bank(torch.randn(len(WHICH), 2, *SHAPES[dims]), WHICH).square().sum().backward()
    touched = bank.weight.grad.flatten(1).abs().sum(1) > 0
    assert touched.tolist() == [True, True, True, False]


def test_a_batch_is_its_samples_one_by_one():
    torch.manual_seed(0)
    network = LatentTranslator(3, 3, 4, features=(6, 8), hidden=5)
    z = torch.randn(4, 4, 4, 6, 8)
    alone = [network(z[k : k + 1], WHICH[k : k + 1]) for k in range(4)]
    torch.testing.assert_close(network(z, WHICH), torch.cat(alone), atol=1e-5, rtol=1e-4)
    others = network(z, (WHICH + 1) % 3)
    assert (others - network(z, WHICH)).flatten(1).abs().amax(1).min() > 1e-3
