"""Recorded attention against the attention that the layers themselves return."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from monai.networks.blocks import CrossAttentionBlock, SABlock
from monai.networks.nets import DiffusionModelUNet

from chiasm.diffusion.attention import attention_layers, recorded
from chiasm.errors import UsageError


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        2, 1, 1, channels=[8, 16, 16], num_res_blocks=1, norm_num_groups=8,
        attention_levels=[False, True, True], num_head_channels=8,
    )  # fmt: skip
    return _varied(network)


@pytest.fixture(scope="module")
def text_unet():
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        2, 1, 1, channels=[8, 16], num_res_blocks=1, norm_num_groups=8,
        attention_levels=[False, True], num_head_channels=8,
        with_conditioning=True, cross_attention_dim=12,
    )  # fmt: skip
    return _varied(network)


def _varied(network):
    """The network without weights of zero, so that its output depends on all layers."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def image(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def saved(network):
    """What MONAI's own layers keep of their attention."""
    return [
        module.att_mat.mean(dim=1)
        for module in network.modules()
        if isinstance(module, SABlock | CrossAttentionBlock)
    ]


@pytest.mark.parametrize("kind", ["unet", "text_unet"])
def test_monai_layers_return_the_same(kind, request):
    network = request.getfixturevalue(kind)
    context = image(2, 5, 12, seed=2) if kind == "text_unet" else None
    x, time = image(2, 1, 16, 24), torch.tensor([3, 400])
    with torch.inference_mode():
        alone = network(x, time, context=context)
        for module in network.modules():
            if isinstance(module, SABlock | CrossAttentionBlock):
                module.save_attn = True
        with recorded(network) as shown:
            same = network(x, time, context=context)
    torch.testing.assert_close(same, alone, rtol=0, atol=0)
    assert {one.layer for one in shown.attention} == {*attention_layers(network)}
    by_layer = {one.layer: one for one in shown.attention}
    for layer, expected in zip(attention_layers(network), saved(network), strict=True):
        torch.testing.assert_close(by_layer[layer].weights, expected)
        torch.testing.assert_close(by_layer[layer].weights.sum(-1), torch.ones(expected.shape[:2]))
    assert all(one.size[0] * one.size[1] == one.weights.shape[1] for one in shown.attention)
    assert {one.size for one in shown.attention} <= {(8, 12), (4, 6)}
    assert {one.weights.shape[2] for one in shown.attention if one.cross} == (
        {5} if context is not None else set()
    )


def test_queries_and_keys_in_one_layer():
    block = SABlock(16, 4, use_combined_linear=True, save_attn=True).eval()
    with torch.inference_mode(), recorded(block) as shown:
        block(image(2, 6, 16))
    (one,) = shown.attention
    torch.testing.assert_close(one.weights, block.att_mat.mean(dim=1))
    assert one.size == (6,)


def test_a_unet_of_diffusers():
    torch.manual_seed(0)
    network = _varied(
        UNet2DConditionModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=12,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    )
    x, time, text = image(2, 1, 16, 16), torch.tensor([10, 500]), image(2, 5, 12, seed=2)
    explicit = {}
    with torch.inference_mode():
        with recorded(network) as shown:
            tapped = network(x, time, text).sample
        names = {module: name for name, module in network.named_modules()}

        class Keeping:
            """The processor of the library's documentation, which forms the whole matrix."""

            def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
                context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
                query = attn.head_to_batch_dim(attn.to_q(hidden_states))
                key = attn.head_to_batch_dim(attn.to_k(context))
                value = attn.head_to_batch_dim(attn.to_v(context))
                scores = attn.get_attention_scores(query, key)
                explicit[names[attn]] = scores.unflatten(0, (-1, attn.heads)).mean(dim=1)
                return attn.to_out[0](attn.batch_to_head_dim(scores @ value))

        network.set_attn_processor(Keeping())
        again = network(x, time, text).sample
    torch.testing.assert_close(tapped, again, rtol=1e-4, atol=1e-5)
    assert {one.layer for one in shown.attention} == {*explicit} != set()
    for one in shown.attention:
        torch.testing.assert_close(one.weights, explicit[one.layer], rtol=1e-4, atol=1e-6)
        assert one.cross == one.layer.endswith("attn2")
        assert one.size in ((16, 16), (8, 8))
    assert all(isinstance(network.get_submodule(one), Attention) for one in explicit)


def test_chosen_layers_and_features(unet):
    layers = attention_layers(unet)
    with torch.inference_mode(), recorded(unet, layers[:1], ["conv_in", "middle_block"]) as shown:
        unet(image(1, 1, 16, 16), torch.tensor([1]))
        unet(image(1, 1, 16, 16, seed=9), torch.tensor([1]))
    assert [one.layer for one in shown.attention] == layers[:1] * 2
    assert shown.features["conv_in"].shape == (1, 8, 16, 16)
    assert shown.features["middle_block"].shape == (1, 16, 4, 4)
    # Nothing is recorded outside the block, and no hook is left.
    with torch.inference_mode():
        unet(image(1, 1, 16, 16), torch.tensor([1]))
    assert len(shown.attention) == 2
    assert not any(module._forward_hooks for module in unet.modules())
    assert not any(module._forward_pre_hooks for module in unet.modules())


@pytest.mark.parametrize("words", [{"attention": ["conv_in"]}, {"features": ["no.such.layer"]}])
def test_a_layer_that_is_not_there_is_named(unet, words):
    (name,) = next(iter(words.values()))
    with pytest.raises(UsageError, match=name.replace(".", r"\.")), recorded(unet, **words):
        pass
