"""`chiasm phantom`: a dataset that the other commands can read, the same bytes for a seed."""

import nibabel as nib
import numpy as np
from command_samples import files_below


def test_one_subject_is_a_dataset_the_other_commands_read(
    chiasm, tmp_path, out, regression, segmenter
):
    words = ("--subjects", 1, "--seed", 3, "--spacing", 7, "--modalities", "t1,PD")
    result = chiasm("phantom", "-o", out, *words)
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == [
        "dataset_description.json",
        "participants.json",
        "participants.tsv",
        "sub-01/anat/sub-01_PDw.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_dseg.nii.gz",
        "sub-01/anat/sub-01_dseg.tsv",
    ]
    anat = out / "sub-01" / "anat"
    images = [nib.load(anat / f"sub-01_{suffix}.nii.gz") for suffix in ("T1w", "PDw", "dseg")]
    assert len({image.shape for image in images}) == 1
    np.testing.assert_allclose(images[0].header.get_zooms()[:3], 7)
    assert set(np.unique(images[2].dataobj)) == {0, 1, 2, 3}

    again = tmp_path / "again"
    assert chiasm("phantom", "-o", again, *words).code == 0
    for name in files_below(out):
        assert (out / name).read_bytes() == (again / name).read_bytes(), name

    models = ("--model", regression, "--segmenter", segmenter)
    done = chiasm("run", "-i", out, "-o", tmp_path / "done", *models)
    assert done.code == 0
    assert "left out because it is already T1w" in done.err
    made = tmp_path / "done" / "sub-01" / "anat"
    truth = ("--truth", anat / "sub-01_T1w.nii.gz")
    assert chiasm("evaluate", "--pred", made / "sub-01_T1w.nii.gz", *truth).code == 0
    truth = ("--truth", anat / "sub-01_dseg.nii.gz", "--labels")
    assert chiasm("evaluate", "--pred", made / "sub-01_dseg.nii.gz", *truth).code == 0
