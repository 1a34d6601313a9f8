"""A model as a MONAI bundle: a folder with configs, and one TorchScript network of volumes."""

from __future__ import annotations

import json
from importlib.metadata import version
from inspect import getsource
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chiasm.export import bundle_steps
from chiasm.export.step import Step
from chiasm.files.atomic import atomic_folder
from chiasm.image import axes, foreground_search
from chiasm.image.intensity import policy_for
from chiasm.models import CARD, Model

CONFIGS, SCRIPTS, NETWORK = "configs", "scripts", "models/model.ts"


def write_bundle(model: Model, step: Step, network: nn.Module, folder: Path) -> tuple[Path, ...]:
    """Write the folder completely or not at all.

    Parameters
    ----------
    model : Model
    step : Step
        Its network.
    network : scripted Module
        (1, 1, X, Y, Z) in [0, 1] → (1, channels, X, Y, Z), see `chiasm.export.volume`.
    folder : Path
        A bundle there is replaced.

    Returns
    -------
    tuple of Path
        The files.
    """
    texts = {
        f"{CONFIGS}/metadata.json": _json(_metadata(model, step)),
        f"{CONFIGS}/inference.json": _json(_inference(model, step)),
        **_scripts(),
        "docs/README.md": _readme(model, step),
    }
    with atomic_folder(folder) as draft:
        for name, text in texts.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (draft / NETWORK).parent.mkdir()
        torch.jit.save(network, str(draft / NETWORK))  # type: ignore[no-untyped-call]
    return tuple(folder / name for name in (*texts, NETWORK))


def _scripts() -> dict[str, str]:
    """The steps that the config names, without any import of Chiasm, by their paths."""
    modules = {one.__name__: one for one in (bundle_steps, axes, foreground_search)}
    texts = {f"{SCRIPTS}/__init__.py": ""}
    for module in modules.values():
        text = getsource(module)
        for name in modules:
            text = text.replace(f"from {name} ", f"from {SCRIPTS}.{_last(name)} ")
        texts[f"{SCRIPTS}/{_last(module.__name__)}.py"] = text
    return texts


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _json(content: Any) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _channels(model: Model, step: Step) -> dict[str, str]:
    """The channels of what the bundle makes, by index."""
    if step.segments:
        return {str(index): one.name for index, one in enumerate(model.config.labels)}
    return {"0": model.config.target}


def _metadata(model: Model, step: Step) -> dict[str, Any]:
    config = model.config
    source = config.target if step.segments and not config.any_contrast else "any"
    task = "segmentation of the brain" if step.segments else f"translation to {config.target}"
    divisor = int(model.module.divisible_by)
    shape = [f"{divisor}*n"] * 3
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by chiasm {version('chiasm')}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            name: version(name) for name in ("nibabel", "scikit-image", "scipy")
        },
        "name": model.name,
        "task": task,
        "description": f"{model.name} of Chiasm, {model.fingerprint}",
        "authors": "Chiasm",
        "copyright": "see docs/README.md",
        "data_type": "nibabel",
        "intended_use": "research, not diagnosis",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": source,
                    "num_channels": 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities" if step.segments else "image",
                    "format": "segmentation" if step.segments else "magnitude",
                    "num_channels": len(_channels(model, step)),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": _channels(model, step),
                }
            },
        },
    }


def _spacing(model: Model) -> list[float | None]:
    """Voxels in mm along the axes of the orientation; None keeps those of the scan."""
    grid = model.config.grid
    spacing = list(grid.spacing)
    if model.config.context.kind != "3d":  # in plane, in plane, between slices
        spacing.insert(grid.slice_axis, spacing.pop())
    return spacing


def _inference(model: Model, step: Step) -> dict[str, Any]:
    """The config of `monai.bundle run`."""
    config = model.config
    place = f"{_spacing(model)}, {config.grid.orientation!r}, {int(model.module.divisible_by)}"
    policy = policy_for(None)  # that of arbitrary units
    given = f"{place}, ({policy.low}, {policy.high})"
    if step.segments:
        last = f"$lambda data: steps.to_labels(data, {config.settings.get('fill_holes', False)})"
    else:
        assert config.intensity is not None  # the config of a translator has one
        units = config.intensity
        ends = f"{units.low}, {units.high}, {units.background}"
        last = f"$lambda data: steps.to_image(data, {ends})"
    prepared: list[dict[str, Any] | str] = [
        {"_target_": "LoadImaged", "keys": "image", "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        f"$lambda data: steps.to_network(data, {given})",
        {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
    ]
    made: list[dict[str, Any] | str] = [
        last,
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg" if step.segments else config.target,
            "output_dtype": "$np.uint8" if step.segments else "$np.float32",
            "resample": False,
        },
    ]
    return {
        "imports": [
            "$import glob",
            "$import os",
            "$import numpy as np",
            "$import torch",
            f"$import {SCRIPTS}.{_last(bundle_steps.__name__)} as steps",
        ],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "$@bundle_root + '/images'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": f"$torch.jit.load(@bundle_root + '/{NETWORK}', map_location=@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": prepared},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': one} for one in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": made},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def _readme(model: Model, step: Step) -> str:
    """How to run the bundle, and the card of the model."""
    scans = "skull-stripped scans (0 outside the brain)"
    if model.config.brain_only is False:
        scans = "scans of whole heads or of skull-stripped brains"
    what = "segments" if step.segments else f"makes {model.config.target} images of"
    card = model.folder / CARD
    told = card.read_text(encoding="utf-8") if card.is_file() else ""
    return (
        f"# {model.name} as a MONAI bundle\n\n"
        f"This bundle {what} {scans}. Chiasm {version('chiasm')} exported it from the model "
        f"{model.fingerprint}. It needs MONAI, nibabel, scikit-image, pytorch-ignite and fire.\n\n"
        "```sh\n"
        "python -m monai.bundle run --bundle_root . --config_file configs/inference.json \\\n"
        "    --datalist \"['scan.nii.gz']\" --output_dir results\n"
        "```\n\n"
        "The scan must not be a CT. Foreground, intensities and interpolation are those of "
        f"`chiasm`, in the folder {SCRIPTS}.\n\n"
        f"{told}"
    )
