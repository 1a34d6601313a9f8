"""The latent's scale, measured; and decoding through the codes or past them."""

import pytest
import torch

from chiasm.methods.aldm.codec import LatentCodec
from chiasm.methods.aldm.vqgan import VQGAN


def codec(**chosen):
    torch.manual_seed(0)
    return LatentCodec(VQGAN(2, 1, 1, channels=[8], codes=4, latent=4), **chosen).eval()


def images(count=5):
    generator = torch.Generator().manual_seed(1)
    ramp = torch.linspace(0.2, 0.9, count)[:, None, None, None]
    image = ramp + 0.1 * torch.randn((count, 1, 16, 12), generator=generator)
    mask = torch.zeros((count, 1, 16, 12), dtype=torch.bool)
    mask[:, :, 4:12, 2:10] = True
    return image, mask


def test_the_scale_is_that_of_all_latents_in_the_heads():
    own, (image, mask) = codec(), images()
    own.measure(image, mask)
    latent = own.encode(image)[:, :, 2:6, 1:5]
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    variance = latent.var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance.mean(), torch.ones(()), atol=1e-3, rtol=0)
    # One deviation for all: they keep the sizes that they have in the image.
    assert variance.max() > 4 * variance.min()
    assert len(own.deviation.unique()) == 1


@pytest.mark.parametrize("quantise", [True, False])
def test_decoding_rounds_to_the_codes_or_does_not(quantise):
    own, (image, mask) = codec(quantise=quantise), images()
    own.measure(image, mask)
    error = (own.decode(own.encode(image)) - image).abs().max()
    assert (error > 0.05) if quantise else (error < 1e-4)  # untrained, it is a wavelet transform
