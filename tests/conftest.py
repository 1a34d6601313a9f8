"""Heads that several folders of tests draw from: ellipsoids with FreeSurfer's labels."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

# The outer ellipsoid has these half-axes, as a share of the half size of the box.
_HEAD = (0.92, 0.94, 0.92)
# Radius below which a label is found, relative to the outer ellipsoid; left and right.
_SHELLS = (
    (1.0, 511, 511),  # skin
    (0.92, 507, 507),  # soft tissue
    (0.85, 515, 515),  # compact bone
    (0.79, 24, 24),  # CSF
    (0.72, 3, 42),  # cortex
    (0.58, 2, 41),  # white matter
    (0.26, 4, 43),  # ventricles
)


def head_labels(shape=(40, 48, 40), *, outside=True):
    """A head in RAS+ order, as FreeSurfer labels: int16, or only its brain."""
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum((a / half) ** 2 for a, half in zip(at, _HEAD, strict=True)))
    left = at[0] < 0
    labels = np.zeros(shape, np.int16)
    for limit, on_left, on_right in _SHELLS:
        if outside or limit < 0.8:
            labels[radius < limit] = np.where(left, on_left, on_right)[radius < limit]
    if outside:  # an eye, so that front and back differ
        eye = ((at[0] - 0.3) ** 2 + (at[1] - 0.75) ** 2 + at[2] ** 2) < 0.12**2
        labels[eye] = 506
    # A nucleus below the ventricles, so that top and bottom differ.
    labels[((at[0] + 0.25) ** 2 + at[1] ** 2 + (at[2] + 0.3) ** 2) < 0.12**2] = 10
    return labels


def save_label_map(path: Path, labels, spacing=1.0, axes="LIA"):
    """Write a label map in RAS+ order in another order of storage."""
    affine = np.diag([*np.broadcast_to(spacing, 3), 1.0])
    image = nib.Nifti1Image(labels, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.as_reoriented(turn).to_filename(path)
    return path


@pytest.fixture(scope="session")
def make_head():
    """The function `head_labels`."""
    return head_labels


@pytest.fixture(scope="session")
def save_labels():
    """The function `save_label_map`."""
    return save_label_map


@pytest.fixture(scope="session")
def anatomies(tmp_path_factory):
    """A folder of three label maps of small heads."""
    folder = tmp_path_factory.mktemp("anatomies")
    for number, length in enumerate((44, 46, 48), start=1):
        save_label_map(folder / f"person_{number}.nii.gz", head_labels((40, length, 40)))
    return folder
