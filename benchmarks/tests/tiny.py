"""Small digital subjects, and a training that takes seconds."""

import itertools

import nibabel as nib
import numpy as np
import torch

from chiasm import files
from chiasm.image.volume import Label, LabelVolume, Volume

NAMES = ("background", "csf", "grey", "white")
LABELS = tuple(Label(value, name, "#000000") for value, name in enumerate(NAMES))
SHAPE, AFFINE = (24, 28, 6), np.diag([2.0, 2, 4, 1])
UNET = {"name": "unet", "arguments": {"features": [8, 8, 8, 8, 8, 8]}}
TINY = {"network": UNET, "batch": 2, "precision": "32-true", "warmup": 1, "ema": 0.5}
TINY |= {"iterations": 2}


def tissue():
    """Labels 0 to 3 of an ellipsoid of three nested tissues."""
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in at))
    return np.select([radius < 0.4, radius < 0.65, radius < 0.9], [3, 2, 1], 0).astype(np.uint8)


def label_maps(folder, count=2):
    """FreeSurfer labels of small heads: skin, CSF, cortex and white matter."""
    folder.mkdir(parents=True)
    for number in range(count):
        at = np.meshgrid(*(np.linspace(-1, 1, n) for n in (56, 64 + 2 * number, 56)), indexing="ij")
        radius = np.sqrt(sum(a**2 for a in at))
        shells = [radius < limit for limit in (0.5, 0.7, 0.78, 0.9)]
        labels = np.select(shells, [2, 3, 24, 511], 0).astype(np.int16)
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / f"person_{number}.nii.gz")
    return folder


def scan(levels, modality, seed=0):
    """The tissues under a contrast, with texture."""
    image = np.array([0, *levels])[tissue()]
    image = image + np.random.default_rng(seed).uniform(0, 20, SHAPE)
    return Volume(np.where(tissue() > 0, image, 0).astype(np.float32), AFFINE, modality=modality)


def dataset(folder):
    """Three subjects with T1w, PDw and dseg."""
    for seed, name in enumerate(("sub-01", "sub-02", "sub-03")):
        anat = folder / name / "anat"
        anat.mkdir(parents=True)
        for modality, levels in {"T1w": (30, 90, 150), "PDw": (150, 110, 80)}.items():
            image = scan(levels, modality, seed)
            nib.save(nib.Nifti1Image(image.array, AFFINE), anat / f"{name}_{modality}.nii.gz")
        files.write(LabelVolume(tissue(), AFFINE, LABELS), anat / f"{name}_dseg.nii.gz")
    return folder


def foreign_models(folder, channels=2):
    """Folders as those of the foreign networks, with random weights of few channels."""
    draw = torch.Generator().manual_seed(0)

    def weight(*shape):
        return torch.randn(shape, generator=draw) / 3

    for name in ("model20chan3cls", "model5_gw_ae"):
        place = folder / "meshnet" / name
        place.mkdir(parents=True)
        widths = [1, *[channels] * 9]
        parts = [weight(27 * a * b + b) for a, b in itertools.pairwise(widths)]
        values = torch.cat([*parts, weight(3 * channels + 3)])
        (place / "model.bin").write_bytes(values.numpy().astype("<f4").tobytes())
    tissue = {}
    numbers = (*range(0, 22, 2), 22, *range(23, 32, 2), 33)
    for k, number in enumerate(numbers):
        given, made = 1 if k == 0 else channels, 3 if number == 33 else channels
        size = {22: 2, 33: 1}.get(number, 3)
        tissue[f"{number}.weight"] = weight(made, given, size, size, size)
        tissue[f"{number}.bias"] = weight(made)
    brain = {
        f"model.{k}.0.weight": weight(channels, channels if k else 1, 3, 3, 3) for k in range(25)
    }
    brain |= {"model.25.weight": weight(2, channels, 1, 1, 1), "model.25.bias": weight(2)}
    for part, state in (("sae/robust_tissue", tissue), ("meshnet/mindgrab", brain)):
        (folder / part).mkdir(parents=True)
        torch.save(state, folder / part / "model.pth")
    return folder
