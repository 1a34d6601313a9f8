"""Small digital subjects, and a training that takes seconds."""

import nibabel as nib
import numpy as np

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
