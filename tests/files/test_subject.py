"""Whose image a file is, in the layouts that people have."""

from pathlib import Path

import pytest

from chiasm.files.subject import subject_of
from chiasm.image.modality import modality_from_filename

FOLDER = Path("/data")


@pytest.mark.parametrize(
    ("name", "subject", "session", "modality"),
    [
        ("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "sub-01", "ses-2", "T1w"),
        ("sub-01/anat/sub-01_run-1_PDw.nii", "sub-01", "", "PDw"),
        ("BraTS2021_00002/BraTS2021_00002_t1.nii.gz", "BraTS2021_00002", "", "T1w"),
        ("BraTS2021_00002/BraTS2021_00002_t1ce.nii.gz", "BraTS2021_00002", "", "T1ce"),
        ("BraTS2021_00002/BraTS2021_00002_flair.nii.gz", "BraTS2021_00002", "", "FLAIR"),
        ("a/BraTS-GLI-00002-000/BraTS-GLI-00002-000-t1n.nii.gz", "BraTS-GLI-00002", "000", "T1w"),
        ("BraTS-GLI-00002-001/BraTS-GLI-00002-001-t1c.nii.gz", "BraTS-GLI-00002", "001", "T1ce"),
        ("BraTS-MET-00086-000/BraTS-MET-00086-000-t2f.nii.gz", "BraTS-MET-00086", "000", "FLAIR"),
        ("BraTS-GLI-00002-001/BraTS-GLI-00002-001-seg.nii.gz", "BraTS-GLI-00002", "001", None),
        ("IXI-T1/IXI002-Guys-0828-T1.nii.gz", "IXI002", "", "T1w"),
        ("IXI-PD/IXI002-Guys-0828-PD.nii.gz", "IXI002", "", "PDw"),
        ("ana/T1w.nii.gz", "ana", "", "T1w"),
        ("ana_T1w.nii.gz", "ana", "", "T1w"),
        ("site/ana_x_T2.nii", "site/ana_x", "", "T2w"),
        ("T1.nii", "data", "", "T1w"),
    ],
)
def test_layouts(name, subject, session, modality):
    assert subject_of(FOLDER / name, FOLDER) == (subject, session)
    assert modality_from_filename(Path(name).name) == modality
