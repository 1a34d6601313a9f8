"""MS-SPADE: equal to a loop over MONAI's SPADE of each sample's modality."""

import pytest
import torch
from monai.networks.blocks.spade_norm import SPADE

from chiasm.networks.ms_spade import MSSPADE, LatentTranslator, SwitchedConvolution

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


@pytest.mark.parametrize("coarser", [{}, {"middle": 7, "scales": (1, 2, 1)}])
def test_a_batch_is_its_samples_one_by_one(coarser):
    torch.manual_seed(0)
    network = LatentTranslator(3, 3, 4, features=(6, 8), hidden=5, **coarser)
    z = torch.randn(4, 4, 4, 6, 8)
    alone = [network(z[k : k + 1], WHICH[k : k + 1]) for k in range(4)]
    torch.testing.assert_close(network(z, WHICH), torch.cat(alone), atol=1e-5, rtol=1e-4)
    others = network(z, (WHICH + 1) % 3)
    assert (others - network(z, WHICH)).flatten(1).abs().amax(1).min() > 1e-3


def reach(network, z, which):
    """How far from the middle, along the last axis, an input still matters to the output there."""
    for part in network.modules():
        if isinstance(part, MSSPADE):  # instance normalisation sees everything
            part.norm = torch.nn.Identity()
    z = z.clone().requires_grad_()
    middle = z.shape[-1] // 2
    network(z, which)[..., middle].square().sum().backward()
    seen = torch.nonzero(z.grad.abs().sum(dim=tuple(range(z.ndim - 1)))).flatten()
    return int((seen - middle).abs().max())


@pytest.mark.parametrize("dims", SHAPES)
def test_coarser_blocks_see_further_on_any_size(dims):
    torch.manual_seed(0)
    z, which = torch.randn(1, 4, *(5,) * (dims - 1), 65), torch.tensor([1])
    fine = LatentTranslator(dims, 2, 4, features=(6, 6), hidden=5)
    coarse = LatentTranslator(dims, 2, 4, features=(6, 6), hidden=5, scales=(1, 4, 1))
    coarse.load_state_dict(fine.state_dict())
    assert coarse(z, which).shape == z.shape
    assert reach(coarse, z, which) > 1.5 * reach(fine, z, which)


@pytest.mark.parametrize("wrong", [{"scales": (1, 2)}, {"scales": (1, 0, 1)}, {"middle": -1}])
def test_settings_that_fit_no_network_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LatentTranslator(3, 2, 4, features=(6, 6), hidden=5, **wrong)
