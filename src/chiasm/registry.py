"""Every name that an option, a config or the documentation accepts. Imports no torch.

A guide, network, parameterisation, scheduler, translator or segmenter is added by one file and
one line here: the name, where its class lives, and what it is in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from chiasm.errors import UsageError, explain

DEFAULT_MODEL = "brain-t1"
DEFAULT_SEGMENTER = "brain-t1-tissue"


@dataclass(frozen=True)
class Entry:
    """One name: where its object lives (``"module:attribute"``) and a sentence about it."""

    target: str
    about: str

    def load(self) -> Any:
        """Import and return the object."""
        module, attribute = self.target.split(":")
        return getattr(import_module(module), attribute)


class Registry(Mapping[str, Entry]):
    """Names of one kind, in the order they are shown."""

    def __init__(self, kind: str, entries: dict[str, Entry]) -> None:
        self.kind = kind
        self._entries = entries

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self, name: str, argument: str | None = None) -> str:
        """Return ``name`` if it is registered, else raise a `UsageError` that lists the names."""
        if name not in self._entries:
            legal = ", ".join(self._entries)
            raise UsageError(
                explain(argument or self.kind, name, f"is not a known {self.kind}", legal)
            )
        return name

    def load(self, name: str, argument: str | None = None) -> Any:
        """Import the object that ``name`` stands for; unknown names raise `UsageError`."""
        return self._entries[self.check(name, argument)].load()


GUIDES = Registry(
    "guide",
    {
        "source": Entry("chiasm.guides.source:SourceGuide", "the source image itself"),
        "lmi": Entry(
            "chiasm.guides.lmi:LMIGuide",
            "local mutual information of the source with the sample and with itself",
        ),
        "mind": Entry(
            "chiasm.guides.mind:MINDGuide",
            "the source's modality-independent neighbourhood descriptor (Heinrich 2012)",
        ),
        "contours": Entry(
            "chiasm.guides.contours:ContourGuide", "Canny contours of the source (ContourDiff)"
        ),
        "edges": Entry(
            "chiasm.guides.edges:EdgeGuide",
            "Sobel edges of the bilaterally filtered source (FGDM)",
        ),
        "translation": Entry(
            "chiasm.guides.translation:TranslationGuide",
            "what a frozen one-step model makes of the source, to be refined",
        ),
    },
)

NETWORKS = Registry(
    "network",
    {
        "unet": Entry("chiasm.networks.unet:unet", "MONAI BasicUNet, one pass, no time"),
        "diffusion-unet": Entry(
            "chiasm.networks.unet:diffusion_unet", "MONAI DiffusionModelUNet, conditioned on t"
        ),
        "style-generator": Entry(
            "chiasm.networks.style_generator:style_generator",
            "latents to an image by modulated convolutions (Karras 2020)",
        ),
    },
)

PARAMETERISATIONS = Registry(
    "parameterisation",
    {
        "epsilon": Entry("chiasm.diffusion.parameterisation:Epsilon", "the noise (Ho 2020)"),
        "x0": Entry("chiasm.diffusion.parameterisation:Sample", "the clean sample"),
        "v": Entry("chiasm.diffusion.parameterisation:Velocity", "α·ε − σ·x0 (Salimans 2022)"),
    },
)

CODECS = Registry(
    "codec",
    {"image": Entry("chiasm.diffusion.codec:ImageCodec", "the image itself, [0, 1] ↔ [−1, 1]")},
)

SCHEDULERS = Registry(
    "scheduler",
    {
        "ddim": Entry("diffusers:DDIMScheduler", "DDIM (Song 2021), deterministic"),
        "ddpm": Entry("diffusers:DDPMScheduler", "ancestral sampling (Ho 2020)"),
        "dpm++": Entry("diffusers:DPMSolverMultistepScheduler", "DPM-Solver++ 2M (Lu 2022)"),
        "unipc": Entry("diffusers:UniPCMultistepScheduler", "UniPC (Zhao 2023)"),
    },
)

TRANSLATORS = Registry(
    "translator",
    {
        "regression": Entry(
            "chiasm.translators.regression:Regression", "one step of a network, from the guides"
        ),
        "paired": Entry(
            "chiasm.translators.paired:Paired", "the same step, learned from pairs: the ceiling"
        ),
        "lmi-diffusion": Entry(
            "chiasm.translators.lmi_diffusion:LMIDiffusion",
            "diffusion of the target, guided at every step by the source",
        ),
        "sdedit": Entry(
            "chiasm.translators.sdedit:SDEdit",
            "the noised source, denoised by the unguided target model (Meng 2022)",
        ),
        "steering": Entry(
            "chiasm.translators.steered:Steered",
            "the unguided target model, steered by the gradient of local mutual information",
        ),
        "aldm": Entry(
            "chiasm.translators.aldm:ALDM",
            "any modality to any other by latent diffusion with MS-SPADE (Kim & Park 2024)",
        ),
        "cyclegan": Entry(
            "chiasm.translators.cyclegan:CycleGAN",
            "a network trained on unpaired source images (Zhu 2017); not zero-shot",
        ),
        "stylegan": Entry(
            "chiasm.translators.stylegan:StyleGAN",
            "the image of the target's generator that agrees with the source (inversion)",
        ),
        "histogram": Entry(
            "chiasm.translators.histogram:Histogram", "intensities matched to the target's"
        ),
        "none": Entry("chiasm.translators.none:Untranslated", "the source, rescaled and no more"),
    },
)

SEGMENTERS = Registry(
    "segmenter",
    {
        "network": Entry("chiasm.segmenters.network:NetworkSegmenter", "a network of one image"),
        "joint": Entry(
            "chiasm.segmenters.joint:JointSegmenter", "a network of a translation and its source"
        ),
    },
)

OBJECTIVES = Registry(
    "training method",
    {
        "regression": Entry("chiasm.training.regression:RegressionObjective", "one-step L1"),
        "lmi-diffusion": Entry(
            "chiasm.training.lmi_diffusion:DiffusionObjective", "denoising under guides"
        ),
        "paired": Entry("chiasm.training.paired:PairedObjective", "L1 on pairs, with --sources"),
        "aldm": Entry(
            "chiasm.training.aldm:ALDMObjective",
            "in stages: VQ-GAN, MS-SPADE, latent diffusion; with --modalities",
        ),
        "cyclegan": Entry(
            "chiasm.training.cyclegan:CycleGANObjective", "cycle consistency; reads --sources"
        ),
        "stylegan": Entry(
            "chiasm.training.stylegan:StyleGANObjective", "a generator of the target alone"
        ),
        "segmenter": Entry("chiasm.training.segmenter:SegmenterObjective", "Dice + cross-entropy"),
        "contrast-agnostic": Entry(
            "chiasm.training.contrast_agnostic:ContrastAgnosticObjective",
            "a segmenter under random contrast, for any modality",
        ),
        "joint-segmenter": Entry(
            "chiasm.training.joint_segmenter:JointSegmenterObjective",
            "a segmenter of a translation and its source",
        ),
    },
)
