"""Gradient checkpointing: the same numbers from less memory."""

from copy import deepcopy

import pytest
import torch

from chiasm.methods.aldm.ms_spade import LatentTranslator
from chiasm.methods.aldm.vqgan import VQGAN
from chiasm.networks import NetworkSettings
from chiasm.networks.checkpointing import checkpoint_blocks


def spade():
    network = LatentTranslator(3, 2, 3, features=(8, 8), hidden=8)
    return network, lambda net: net(torch.rand(2, 3, 8, 8, 8), torch.tensor([0, 1]))


def vqgan():
    network = VQGAN(3, 1, 1, channels=(8, 8), residual_layers=2, codes=8, latent=3).eval()
    return network, lambda net: net(torch.rand(2, 1, 16, 16, 16))


def basic():
    settings = NetworkSettings(
        name="unet", arguments={"features": [4, 4, 8, 8, 8, 4], "norm": "batch"}
    )
    return settings.build(2, 1, 1), lambda net: net(torch.rand(2, 1, 32, 32))


def timed():
    arguments = {"channels": [8, 16], "num_res_blocks": 1, "norm_num_groups": 4}
    arguments["attention_levels"] = [False, False]
    network = NetworkSettings(name="diffusion-unet", arguments=arguments).build(3, 1, 1)
    for parameter in network.parameters():  # MONAI's last convolution begins as 0
        torch.nn.init.normal_(parameter, std=0.1)
    return network, lambda net: net(torch.rand(2, 1, 8, 8, 8), torch.tensor([3, 9]))


def kept_bytes(network, run):
    """What the forward pass keeps for the backward pass, and the gradients."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    own = {one.data_ptr() for one in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = run(network)
    out.square().sum().backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    return sum(size for at, size in kept.items() if at not in own), out, gradients


@pytest.mark.parametrize("build", [spade, vqgan, basic, timed])
def test_same_numbers_from_less_memory(build):
    torch.manual_seed(0)
    plain, run = build()
    other = deepcopy(plain)
    assert checkpoint_blocks(other) > 1
    before, expected, gradients = kept_bytes(plain, run)
    after, out, recomputed = kept_bytes(other, run)
    torch.testing.assert_close(out, expected)
    for one, other_one in zip(gradients, recomputed, strict=True):
        torch.testing.assert_close(other_one, one)
    assert after < 0.7 * before
    # Batch norms' statistics among it.
    assert other.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)
    plain.load_state_dict(other.state_dict())
    other.load_state_dict(plain.state_dict())
