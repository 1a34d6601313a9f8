"""ALDM (Kim & Park, WACV 2024): a VQ-GAN, then MS-SPADE in its latent, then diffusion there."""

from __future__ import annotations

from hashlib import sha256
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from chiasm.diffusion.latent import LatentSettings
from chiasm.training.aldm_autoencoder import AutoencoderObjective
from chiasm.training.data import Batch, Samples
from chiasm.training.modalities import AnyToAnySamples
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings


def weights_digest(module: Module) -> str:
    """Of a network's weights: equal ones have one."""
    digest = sha256()
    for name, weight in module.state_dict().items():
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _LatentObjective(Objective):
    """What the stages behind the autoencoder share: it is frozen, and sources are any modality."""

    kind = "translator"
    method = "aldm"
    with_source = "any"
    first_samples = 16  # of all modalities, to measure the latent's scale

    def __init__(self, settings: TrainingSettings, module: Any) -> None:
        super().__init__(settings, module)
        module.requires_grad_(False)
        if (part := getattr(module, self.trained)) is not None:
            part.requires_grad_(True)

    def begin(self, batch: Batch) -> None:
        """The latent's scale is measured once, by the first stage behind the autoencoder."""
        if self.trained == "translator" or self.module.translator is None:
            self.module.codec.measure(batch.image, batch.mask)

    def survey(self, samples: Samples, device: torch.device) -> None:
        """Latents of all training images are computed once, if that is less than at every step."""
        assert isinstance(samples, AnyToAnySamples)  # with_source says so
        chosen = self.settings.augmentation
        self.freeze()
        codec = self.module.codec.to(device)
        name = weights_digest(codec)
        once = 2 * samples.every[:, :, 0].numel()  # voxels; as they are, and mirrored
        seen = prod(chosen.crop) if chosen.crop else samples.images[0].numel()
        images = self.module.modalities if self.settings.all_targets else 2
        less = self.settings.iterations * self.settings.batch * images * seen > once
        if chosen.rotation or chosen.scale:  # every step sees other voxels
            samples.forget_latents()
        elif less or samples.encoded_by == name:
            samples.encode(lambda image: codec.encode(image.to(device)), name)
        else:
            samples.forget_latents()

    def freeze(self) -> None:
        """Training mode would move the codes and the statistics of what is frozen."""
        self.module.codec.eval()
        if self.trained != "translator" and self.module.translator is not None:
            self.module.translator.eval()

    def pair(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, list[int]]:
        """Latents of the sources and of the targets, without a gradient; whence each source is.

        A share of the sources is the target under a random contrast: of none of the modalities, as
        one that was never seen. Those are encoded as the batch shows them, so in a box the edge
        has no neighbours.
        """
        self.freeze()
        assert batch.source is not None  # with_source says so
        assert batch.source_modality is not None
        assert batch.modality is not None
        image, randomised = self.some_randomised(batch, generator, batch.source)
        origin = batch.source_modality.masked_fill(randomised, self.module.modalities)
        target = self.latent(batch, batch.modality, batch.image)
        source = self.latent(batch, batch.source_modality, image)
        if batch.latents is not None and randomised.any():
            with torch.no_grad():
                source[randomised] = self.module.codec.encode(image[randomised])
        return source, target, origin.tolist()

    def error(self, made: Tensor, real: Tensor) -> Tensor:
        """Of each value, by the settings' kind of error."""
        away = made - real
        return away.square() if self.settings.error == "squared" else away.abs()

    def latent(self, batch: Batch, modality: Tensor, image: Tensor) -> Tensor:
        """Of each sample's image of one modality, without a gradient: computed once, or now."""
        if batch.latents is None:
            with torch.no_grad():
                return self.module.codec.encode(image)
        each = torch.arange(len(modality), device=modality.device)
        return batch.latents[each, modality].float()


class LatentTranslatorObjective(_LatentObjective):
    """MS-SPADE: error between what it makes of the source's latent and the target's latent.

    And, if it is asked for, there and back: what it makes of that, towards the source's modality,
    must be the source's latent; the real one's, where the source was under a random contrast. With
    ``all_targets`` a batch has one source modality, or random contrast, and is made to all others.
    """

    trained = "translator"

    @classmethod
    def applies(cls, settings: TrainingSettings) -> bool:
        return LatentSettings.model_validate(settings.latent).translator is not None

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
        """Error of all targets of one source modality: the first sample's, or a random contrast."""
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
                origin, source = count, module.codec.encode(self.randomised(batch, generator).image)
            else:
                origin, source, wanted = one, latents[:, one], wanted[wanted != one]
        made = module.translator.every(source, [origin] * size)
        return self.error(made[:, wanted], latents[:, wanted]).mean()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The way there alone, and L1 in every case, so that runs can be compared."""
        made, target = self.forth(batch, generator)
        return (made - target).abs().mean()

    def forth(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is made of the sources' latents, and the targets'."""
        source, target, origin = self.pair(batch, generator)
        return self.module.translator(source, batch.modality, origin), target


class ALDMObjective(_LatentObjective):
    """The last stage: denoising of the target's latent under the source's and MS-SPADE's."""

    trained = "network"
    neighbours = False  # the autoencoder takes one image
    defaults = {  # noqa: RUF012
        "context": {"kind": "3d"},
        "grid": {"spacing": [2.0, 2.0, 2.0]},
        "network": {
            "name": "diffusion-unet",
            "arguments": {
                "channels": [64, 96, 128],
                "num_res_blocks": 1,
                "attention_levels": [False, False, False],
                "norm_num_groups": 16,
            },
        },
        "latent": {
            "autoencoder": {"channels": [32, 64], "codes": 2048, "latent": 4},
            "translator": {"features": [64, 64], "hidden": 32},
        },
        "diffusion": {"parameterisation": "x0", "residual": True},
        "batch": 2,
    }

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        module, size = self.module, len(batch.image)
        device = batch.image.device
        source, x0, origin = self.pair(batch, generator)
        with torch.no_grad():
            condition = module.condition_of(source, batch.modality, origin)
        kept = torch.rand(size, generator=generator) >= self.settings.guide_dropout
        condition = condition.without_source(kept.to(device))
        share = torch.rand(size, generator=generator) ** (1 / self.settings.late)
        last = len(module.signal) - 1
        time = (share * (last + 1)).long().clamp(max=last).to(device)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        alpha, sigma = module.amplitudes(time, module.signal, x0.ndim)
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
