"""Every name that options and settings accept. Imports no torch.

A guide, network, scheduler, method, segmenter or file format is added by one file and one line
here: its name, the place of its object, and one sentence about it. Code outside the package adds
names with `Registry.add`; see `load_plugins`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from chiasm.errors import UsageError, explain

DEFAULT_MODEL = "brain-t1"
DEFAULT_SEGMENTER = "brain-t1-tissue"
PLUGINS = "CHIASM_PLUGINS"  # environment variable that lists files which register more names


@dataclass(frozen=True)
class Entry:
    """The object of one name, or its place (``"module:attribute"``), and a sentence about it."""

    target: Any
    about: str

    def load(self) -> Any:
        """Return the object. It is imported at the first call."""
        try:
            return imported(self.target)
        except (ImportError, AttributeError) as error:
            problem = f"cannot be imported ({type(error).__name__}: {error})"
            legal = "an object that exists, as module:attribute"
            raise UsageError(explain("registered name", self.target, problem, legal)) from error


def imported(target: Any) -> Any:
    """The object that ``"module:attribute"`` or the module that ``"module"`` names.

    Any other object is returned as it is.
    """
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute) if attribute else import_module(module)


class Registry(Mapping[str, Entry]):
    """The names of one kind, in the order in which they are shown."""

    def __init__(self, kind: str, entries: dict[str, Entry]) -> None:
        self.kind = kind
        self._entries = entries

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, target: Any, about: str) -> None:
        """Register a name.

        Parameters
        ----------
        name : str
            The name in options and settings.
        target : object or str
            The object, or ``"module:attribute"``, which is imported at its first use. The
            object of a file format may be a whole module, ``"module"``.
        about : str
            One sentence, shown in lists.

        Raises
        ------
        UsageError
            The name is already registered for another object.
        """
        known = self._entries.get(name)
        if known is not None and known.target != target:
            problem = f"is registered already as a {self.kind}"
            raise UsageError(explain("name", name, problem, "a name that is not in use"))
        self._entries[name] = Entry(target, about)

    def remove(self, name: str) -> None:
        """Remove a name. An unknown name raises `UsageError`."""
        del self._entries[self.check(name)]

    def check(self, name: str, argument: str | None = None) -> str:
        """Return a registered name. For others raise a `UsageError` that lists the names."""
        if name not in self._entries:
            legal = ", ".join(self._entries)
            raise UsageError(
                explain(argument or self.kind, name, f"is not a known {self.kind}", legal)
            )
        return name

    def load(self, name: str, argument: str | None = None) -> Any:
        """Import the object of a name. An unknown name raises `UsageError`."""
        return self._entries[self.check(name, argument)].load()


def load_plugins() -> None:
    """Import code outside the package that registers names.

    This code is in the files that the environment variable ``CHIASM_PLUGINS`` lists (separated as
    in ``PATH``), and in the modules that installed packages declare as entry points of the group
    ``chiasm.plugins``.

    Raises
    ------
    UsageError
        A file does not exist or cannot be imported.
    """
    for one in entry_points(group="chiasm.plugins"):
        one.load()
    for name in filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)):
        load_plugin(Path(name))


def load_plugin(path: Path) -> None:
    """Import one file that registers names, as in `load_plugins`. A second call does nothing."""
    if not path.is_file():
        raise UsageError(explain(PLUGINS, path, "does not exist", "existing Python files"))
    name = "chiasm_plugin_" + re.sub(r"\W", "_", str(path.resolve()))
    if name in sys.modules:
        return
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(
            explain(PLUGINS, path, "is not a Python file", "a file whose name ends with .py")
        )
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, UsageError):
            raise
        problem = f"cannot be imported ({type(error).__name__}: {error})"
        raise UsageError(explain(PLUGINS, path, problem, "a Python file without errors")) from error


GUIDES = Registry(
    "guide",
    {
        "source": Entry("chiasm.guides.source:SourceGuide", "The source image itself."),
        "lmi": Entry(
            "chiasm.guides.lmi:LMIGuide",
            "Local mutual information of the source with the diffusion sample and with itself.",
        ),
        "mind": Entry(
            "chiasm.guides.mind:MINDGuide",
            "The source's modality-independent neighbourhood descriptor (Heinrich 2012).",
        ),
        "contours": Entry(
            "chiasm.guides.contours:ContourGuide", "Canny contours of the source (ContourDiff)."
        ),
        "edges": Entry(
            "chiasm.guides.edges:EdgeGuide",
            "Sobel edges of the bilaterally filtered source (FGDM).",
        ),
    },
)

NETWORKS = Registry(
    "network",
    {
        "unet": Entry("chiasm.networks.unet:unet", "MONAI BasicUNet, without a time input."),
        "folded-unet": Entry(
            "chiasm.networks.folded_unet:folded_unet",
            "MONAI BasicUNet on folded voxels, without a time input.",
        ),
        "diffusion-unet": Entry(
            "chiasm.networks.unet:diffusion_unet", "MONAI DiffusionModelUNet, conditioned on time."
        ),
    },
)

PARAMETERISATIONS = Registry(
    "parameterisation",
    {
        "epsilon": Entry(
            "chiasm.diffusion.parameterisation:Epsilon", "The network predicts the noise (Ho 2020)."
        ),
        "x0": Entry(
            "chiasm.diffusion.parameterisation:Sample", "The network predicts the clean sample."
        ),
        "v": Entry(
            "chiasm.diffusion.parameterisation:Velocity",
            "The network predicts α·ε − σ·x0 (Salimans 2022).",
        ),
    },
)

SCHEDULERS = Registry(
    "scheduler",
    {
        "ddim": Entry("diffusers:DDIMScheduler", "DDIM (Song 2021), deterministic."),
        "ddpm": Entry("diffusers:DDPMScheduler", "Ancestral sampling (Ho 2020)."),
        "dpm++": Entry("diffusers:DPMSolverMultistepScheduler", "DPM-Solver++ 2M (Lu 2022)."),
        "unipc": Entry("diffusers:UniPCMultistepScheduler", "UniPC (Zhao 2023)."),
    },
)

# Every method is one package or file, which declares a `chiasm.methods.method.Method`.
METHODS = Registry(
    "method",
    {
        "regression": Entry(
            "chiasm.methods.regression:METHOD",
            "A network refined by the volume's own intensity mapping, without diffusion or LMI.",
        ),
        "lmi-diffusion": Entry(
            "chiasm.methods.lmi_diffusion:METHOD",
            "Diffusion model of the target, guided by local mutual information (LMI; Wang 2024).",
        ),
        "loss-guidance": Entry(
            "chiasm.methods.loss_guidance:METHOD",
            "Diffusion model of the target, whose estimates are moved along the gradient of LMI.",
        ),
        "sdedit": Entry(
            "chiasm.methods.sdedit:METHOD",
            "Noise is added to the source and removed by an unguided model (Meng 2022). No LMI.",
        ),
        "aldm": Entry(
            "chiasm.methods.aldm:METHOD",
            "Latent diffusion from any modality to any other with MS-SPADE (Kim & Park 2024).",
        ),
        "paired": Entry(
            "chiasm.methods.baselines.paired:METHOD",
            "A network trained on pairs of source and target; not zero-shot. Uses no LMI.",
        ),
        "cyclegan": Entry(
            "chiasm.methods.baselines.cyclegan:METHOD",
            "A network trained on unpaired source and target images (Zhu 2017); not zero-shot.",
        ),
        "histogram": Entry(
            "chiasm.methods.histogram:METHOD",
            "The histogram of the source is matched to that of the target.",
        ),
        "none": Entry(
            "chiasm.methods.none:METHOD",
            "The untranslated source, rescaled to the intensities of the target.",
        ),
    },
)

SEGMENTERS = Registry(
    "segmenter",
    {
        "network": Entry(
            "chiasm.segmenters.network:NetworkSegmenter", "A network from a model folder."
        ),
    },
)

# Segmenters of others. The first kind that recognises what ``--segmenter`` names is used. Each is a
# class with ``recognises(given)``. It is called with what is given, the resources and the argument.
SEGMENTER_ADAPTERS = Registry(
    "kind of segmenter",
    {
        "command": Entry(
            "chiasm.segmenters.command:CommandSegmenter",
            "Any program: 'tool --in {input} --out {output}', or a YAML file with a command.",
        ),
        "torchscript": Entry(
            "chiasm.segmenters.torchscript:TorchScriptSegmenter",
            "A network saved by torch.jit.save, with a YAML file that describes it.",
        ),
        "bundle": Entry(
            "chiasm.segmenters.bundle:BundleSegmenter",
            "A folder in the format of MONAI bundles.",
        ),
        "onnx": Entry(
            "chiasm.segmenters.onnx:OnnxSegmenter",
            "A network saved as ONNX, with a YAML file that describes it.",
        ),
        "nnunet": Entry(
            "chiasm.segmenters.nnunet:NnUNetSegmenter",
            "A model folder of nnU-Net, if nnU-Net is installed.",
        ),
    },
)

# Trainings of segmenters. Translators are trained by their methods.
SEGMENTER_TRAININGS = Registry(
    "segmenter training",
    {
        "segmenter": Entry(
            "chiasm.segmenters.objective:SegmenterObjective",
            "A segmenter of one modality, trained by Dice and cross-entropy.",
        ),
        "contrast-agnostic": Entry(
            "chiasm.segmenters.contrast_agnostic:ContrastAgnosticObjective",
            "A segmenter of any modality, trained with random contrast (the idea of SynthSeg).",
        ),
    },
)

# Each format is an object or a module with the names of `chiasm.files.Format`. The first format
# with the ending of a file is used.
FORMATS = Registry(
    "file format",
    {
        "nifti": Entry(
            "chiasm.files.nifti", "Volumes with their position in space (.nii, .nii.gz)."
        ),
        "freesurfer": Entry(
            "chiasm.files.mgh", "Volumes of FreeSurfer (.mgz, .mgh), which are read, not written."
        ),
        "raster": Entry("chiasm.files.raster", "Single grey slices (.png, .tif, .tiff)."),
    },
)
