"""ALDM (Kim & Park, WACV 2024) trains a VQ-GAN, then a latent translator, then a denoiser."""

from __future__ import annotations

from hashlib import sha256
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from chiasm.augment.contrast import randomise_some
from chiasm.methods.aldm.autoencoder import AutoencoderObjective
from chiasm.methods.aldm.samples import AnyToAnySamples
from chiasm.methods.aldm.settings import Settings
from chiasm.training.batch import Batch
from chiasm.training.data import Samples
from chiasm.training.diffusion import random_times
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings


def weights_digest(module: Module) -> str:
    """The SHA-256 of a network's weights; equal weights give equal digests."""
    digest = sha256()
    for name, weight in module.state_dict().items():
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def some_randomised(
    objective: Objective, batch: Batch, generator: torch.Generator, others: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Images of which a share, ``settings.any_contrast``, has a random contrast.

    The other images are unchanged, or come from ``others``. The second result, bool (B,), is true
    for the images with a random contrast.
    """
    assert isinstance(objective.settings, Settings)
    share, contrast = objective.settings.any_contrast, objective.contrast
    image, mask, population = batch.image, batch.mask, batch.population
    return randomise_some(image, mask, population, contrast, share, generator, others=others)


class _LatentObjective(Objective):
    """The base of the stages after the autoencoder.

    The autoencoder is frozen, and a source can have any of the modalities.
    """

    kind = "translator"
    method = "aldm"
    settings_class = Settings
    settings: Settings
    with_source = "any"
    samples_class = AnyToAnySamples
    first_samples = 16  # enough to measure the latent's scale over all modalities

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        module.requires_grad_(False)
        if (part := getattr(module, self.trained)) is not None:
            part.requires_grad_(True)

    def begin(self, batch: Batch) -> None:
        """Measure the latent's scale, once, in the first stage after the autoencoder."""
        if self.trained == "translator" or self.module.translator is None:
            self.module.codec.measure(batch.image, batch.mask)

    def survey(self, samples: Samples, device: torch.device) -> None:
        """Compute the latents of all training images once, if that is less work."""
        assert isinstance(samples, AnyToAnySamples)  # with_source says so
        chosen = self.settings.augmentation
        self.freeze()
        codec = self.module.codec.to(device)
        name = weights_digest(codec)
        once = 2 * samples.every[:, :, 0].numel()  # voxels of the images and of their mirror images
        seen = prod(chosen.crop) if chosen.crop else samples.images[0].numel()
        images = self.module.modalities if self.settings.all_targets else 2
        less = self.settings.iterations * self.settings.batch * images * seen > once
        if chosen.rotation or chosen.scale:  # the voxels differ from step to step
            samples.forget_latents()
        elif less or samples.encoded_by == name:
            samples.encode(lambda image: codec.encode(image.to(device)), name)
        else:
            samples.forget_latents()

    def freeze(self) -> None:
        """Put frozen networks in evaluation mode, which keeps their codes and statistics."""
        self.module.codec.eval()
        if self.trained != "translator" and self.module.translator is not None:
            self.module.translator.eval()

    def pair(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, list[int]]:
        """Latents of the sources and the targets without a gradient, and the source indices.

        A share of the sources is the target under a random contrast. They stand for a modality
        that was never seen, and their index is the number of modalities. They are encoded from the
        batch, so in a crop the encoder does not see beyond the edge.
        """
        self.freeze()
        assert batch.source is not None  # with_source says so
        assert batch.source_modality is not None
        assert batch.modality is not None
        image, randomised = some_randomised(self, batch, generator, batch.source)
        source_index = batch.source_modality.masked_fill(randomised, self.module.modalities)
        target = self.latent(batch, batch.modality, batch.image)
        source = self.latent(batch, batch.source_modality, image)
        if batch.latents is not None and randomised.any():
            with torch.no_grad():
                source[randomised] = self.module.codec.encode(image[randomised])
        return source, target, source_index.tolist()

    def error(self, made: Tensor, real: Tensor) -> Tensor:
        """The error of each value, squared or absolute as the settings say."""
        away = made - real
        return away.square() if self.settings.error == "squared" else away.abs()

    def latent(self, batch: Batch, modality: Tensor, image: Tensor) -> Tensor:
        """The latents of each sample's image of one modality, without a gradient."""
        if batch.latents is None:
            with torch.no_grad():
                return self.module.codec.encode(image)
        each = torch.arange(len(modality), device=modality.device)
        return batch.latents[each, modality].float()


class LatentTranslatorObjective(_LatentObjective):
    """Error between the latent translator's estimate and the target's latent.

    A cycle loss can be added: the estimate, translated back to the source's modality, must equal
    the latent of the real source, also where the source had a random contrast. With
    ``all_targets`` all samples of a batch have one source modality, or a random contrast, and each
    is translated to all targets.
    """

    trained = "translator"

    @classmethod
    def applies(cls, settings: TrainingSettings) -> bool:
        assert isinstance(settings, Settings)
        return settings.latent.translator is not None

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        if self.settings.all_targets:
            return self.fanned(batch, generator)
        made, target = self.forth(batch, generator)
        loss = self.error(made, target).mean()
        module, cycle = self.module, self.settings.losses.cycle
        if cycle:
            assert batch.modality is not None
            assert batch.source_modality is not None
            assert batch.source is not None
            back = module.translator(made, batch.source_modality, batch.modality.tolist())
            real = self.latent(batch, batch.source_modality, batch.source)
            loss = loss + cycle * self.error(back, real).mean()
        return loss

    def fanned(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Error of all targets; the source is the first sample's modality or a random contrast."""
        self.freeze()
        assert batch.every is not None
        assert batch.source_modality is not None
        module, (size, count) = self.module, batch.every.shape[:2]
        one, wanted = int(batch.source_modality[0]), torch.arange(count)
        randomised = bool(torch.rand((), generator=generator) < self.settings.any_contrast)
        with torch.no_grad():
            if batch.latents is None:
                latents = module.codec.encode(batch.every.flatten(0, 1)[:, None])
                latents = latents.unflatten(0, (size, count))
            else:
                latents = batch.latents.float()
            if randomised:
                source_index, source = (
                    count,
                    module.codec.encode(self.randomised(batch, generator).image),
                )
            else:
                source_index, source, wanted = one, latents[:, one], wanted[wanted != one]
        made = module.translator.every(source, [source_index] * size)
        return self.error(made[:, wanted], latents[:, wanted]).mean()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean absolute error without the cycle loss, so that all runs can be compared."""
        made, target = self.forth(batch, generator)
        return (made - target).abs().mean()

    def forth(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The estimated latents of the targets, and the true ones."""
        source, target, source_index = self.pair(batch, generator)
        return self.module.translator(source, batch.modality, source_index), target


class ALDMObjective(_LatentObjective):
    """The last stage trains the denoiser of the target's latent."""

    trained = "network"
    shared_settings = ("latent",)
    neighbours = False  # the autoencoder takes one image

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        module, size = self.module, len(batch.image)
        device = batch.image.device
        source, x0, source_index = self.pair(batch, generator)
        with torch.no_grad():
            condition = module.condition_of(source, batch.modality, source_index)
        kept = torch.rand(size, generator=generator) >= self.settings.guide_dropout
        condition = condition.without_source(kept.to(device))
        count = len(module.alphas_cumprod)
        time = random_times(size, count, self.settings.timestep_bias, generator).to(device)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        alpha, sigma = module.amplitudes(time, module.alphas_cumprod, x0.ndim)
        output = module.predict(alpha * x0 + sigma * noise, time, condition)
        error = self.error(output, module.parameterisation.target(x0, noise, alpha, sigma))
        if (gamma := self.settings.min_snr) is not None:
            weight = module.parameterisation.min_snr(alpha, sigma, gamma)
            error = error * (weight if self.settings.error == "squared" else weight.sqrt())
        return error.mean()


ALDMObjective.stages = {
    "autoencoder": AutoencoderObjective,
    "translator": LatentTranslatorObjective,
    "diffusion": ALDMObjective,
}
