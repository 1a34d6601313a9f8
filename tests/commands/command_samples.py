"""Small synthetic scans, and what a command leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from chiasm.cohort.record import RECORDS
from chiasm.image.intensity import IntensityMap

SHAPE = (24, 28, 6)
AFFINE = np.array([[2.0, 0, 0, -20], [0, 2, 0, -30], [0, 0, 4, -10], [0, 0, 0, 1]])
TARGET = IntensityMap(low=100, high=900, units="a.u.", background=50)  # of the tiny translators
UNET = {"name": "unet", "arguments": {"features": [8, 8, 8, 8, 8, 8]}}
DIFFUSION_UNET = {
    "name": "diffusion-unet",
    "arguments": {
        "channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
}
TISSUE_NAMES = ("background", "csf", "grey", "white")


def brain(shape=SHAPE, seed=0, levels=(30, 90, 150), labels=False):
    """An ellipsoid of three nested tissues, textured, 0 around it; or its labels 0 to 3."""
    at = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else [0.0] for n in shape), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in at))
    tissue = np.select([radius < 0.4, radius < 0.65, radius < 0.9], [3, 2, 1], 0)
    if labels:
        return tissue.astype(np.uint8)
    texture = np.random.default_rng(seed).uniform(0, 20, shape)
    image = np.array([0, *levels])[tissue] + texture
    return np.where(tissue > 0, image, 0).astype(np.float32)


def save_nifti(path, array, affine=AFFINE, **header):
    """Write an array with any header, as other programs may have written it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    image.to_filename(path)
    return path


def load(path):
    """The voxels of a NIfTI file, as nibabel reads them."""
    return np.asarray(nib.load(path).dataobj)


def files_below(folder):
    """Names of all files below a folder, hidden ones too, but without the records of its cases."""
    folder = Path(folder)
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(name) for name in names if RECORDS not in name.parts)


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def assert_said(self, *parts):
        """Stderr is one plain line, which holds all ``parts`` and what is legal."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err or "nothing was said"
        for part in ("chiasm: ", "legal: ", *parts):
            assert str(part) in lines[0], f"{part!r} is not in {lines[0]!r}"
        assert "Traceback" not in lines[0]
