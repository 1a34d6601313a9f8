"""Settings of the training of ALDM, which has three stages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.methods.aldm.denoiser import LatentDiffusionSettings, LatentSettings
from chiasm.methods.detail_transfer import DetailTransferSettings
from chiasm.training.adversarial import AdversarialTraining
from chiasm.training.diffusion import DiffusionTraining
from chiasm.training.settings import ContrastTraining


class LatentLosses(BaseModel):
    """Weights of the losses of the autoencoder and the latent translator; 0 switches one off.

    Parameters
    ----------
    reconstruction : float
        Weight of the mean absolute error of encoding and decoding.
    quantisation : float
        Weight of the commitment loss.
    adversarial : float
        Weight of the score that a patch critic gives to the decoded image.
    perceptual : float
        Weight of the mean absolute difference of that critic's features. Published perceptual
        networks do not fit volumes of one channel, and no weights are downloaded.
    cycle : float
        Weight of the error after a translation to another modality and back, in the latent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reconstruction: float = Field(default=1.0, ge=0)
    quantisation: float = Field(default=1.0, ge=0)
    adversarial: float = Field(default=0.01, ge=0)
    perceptual: float = Field(default=0.1, ge=0)
    cycle: float = Field(default=0.5, ge=0)


class Settings(AdversarialTraining, DiffusionTraining, ContrastTraining):
    """Settings of the training of ALDM.

    Parameters
    ----------
    latent : LatentSettings
        The autoencoder and the latent translator.
    diffusion : LatentDiffusionSettings
    losses : LatentLosses
    detail_transfer : DetailTransferSettings or None
        None switches detail transfer off unless a run asks for it.
    all_targets : bool
        Whether the latent translator learns all targets at once, from one source modality for each
        batch. This excludes the cycle loss.
    any_contrast : float
        Share of the samples whose source is the target under a random contrast, 0 to 1.
    error : {"absolute", "squared"}
        The error in the latent. The published systems use the absolute error. Where the source
        does not determine the target, it leads to the median of the possible values, and bright
        tissues fade. The squared error leads to their mean.
    """

    context: Context = Context(kind="3d")
    grid: GridSettings = GridSettings(spacing=(2.0, 2.0, 2.0))
    network: dict[str, Any] = {
        "name": "diffusion-unet",
        "arguments": {
            "channels": [64, 96, 128],
            "num_res_blocks": 1,
            "attention_levels": [False, False, False],
            "norm_num_groups": 16,
        },
    }
    latent: LatentSettings = LatentSettings(
        autoencoder={"channels": [32, 64], "codes": 2048, "latent": 4},
        translator={"features": [64, 64], "hidden": 32},
    )
    diffusion: LatentDiffusionSettings = LatentDiffusionSettings(residual=True)
    detail_transfer: DetailTransferSettings | None = None
    losses: LatentLosses = LatentLosses()
    all_targets: bool = False
    any_contrast: float = Field(default=0.0, ge=0, le=1)
    error: Literal["absolute", "squared"] = "absolute"
    batch: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _all_targets_know_no_cycle(self) -> Settings:
        if self.all_targets and self.losses.cycle:
            raise ValueError("all_targets excludes the cycle loss, so losses.cycle must be 0")
        return self

    @property
    def known_sources(self) -> list[str]:
        return [] if self.any_contrast else self.modalities

    def check(self) -> None:
        super().check()
        self.diffusion.schedule.scheduler(self.diffusion.scheduler, self.diffusion.parameterisation)
