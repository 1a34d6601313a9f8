"""A model folder of nnU-Net, with a program in place of nnU-Net's own."""

import json
import stat

import numpy as np
import pytest

from chiasm.errors import UsageError
from chiasm.image.volume import Volume
from chiasm.segmenters.load import load_segmenter
from chiasm.segmenters.nnunet import PROGRAM

DATASET = {
    "channel_names": {"0": "T1"},
    "labels": {"background": 0, "bright": 1},
    "file_ending": ".nii.gz",
    "numTraining": 3,
}
# It does what nnU-Net's program does with its folders and names, and keeps its arguments.
PREDICT = """#!{python}
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

words = sys.argv[1:]
given, made, model = (Path(words[words.index(flag) + 1]) for flag in ("-i", "-o", "-m"))
(model / "called").write_text(" ".join(words))
for path in given.glob("*_0000.nii.gz"):
    image = nib.load(path)
    labels = (np.asarray(image.dataobj) > 50).astype(np.uint8)
    name = path.name.replace("_0000", "")
    nib.Nifti1Image(labels, image.affine).to_filename(made / name)
(made / "dataset.json").write_text("{{}}")
(made / "plans.json").write_text("{{}}")
"""


@pytest.fixture
def folder(tmp_path):
    """A folder as nnU-Net writes it, without its weights."""

    def write(dataset=DATASET, folds=("0", "1"), checkpoint="checkpoint_final.pth"):
        made = tmp_path / "Dataset500_Bright" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
        made.mkdir(parents=True)
        (made / "dataset.json").write_text(json.dumps(dataset))
        (made / "plans.json").write_text("{}")
        for fold in folds:
            (made / f"fold_{fold}").mkdir()
            (made / f"fold_{fold}" / checkpoint).touch()
        return made

    return write


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The program on the PATH."""
    import sys

    place = tmp_path / "bin" / PROGRAM
    place.parent.mkdir()
    place.write_text(PREDICT.format(python=sys.executable))
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(place.parent), prepend=":")


def test_a_folder_is_run_as_nnunet_wants_it(folder, installed):
    array = np.random.default_rng(2).uniform(0, 100, (20, 22, 18)).astype(np.float32)
    scan = Volume(array, np.diag([-1.0, -1, 2, 1]), modality="T1w")
    made = folder()
    segmenter = load_segmenter(made)
    segmenter.load()
    assert (segmenter.name, segmenter.modality) == ("Dataset500_Bright", "T1w")
    labels = segmenter.segment(scan).labels
    np.testing.assert_array_equal(labels.array, array > 50)
    assert [one.name for one in labels.labels] == ["background", "bright"]
    called = (made / "called").read_text()
    assert "-f 0 1 -chk checkpoint_final.pth -device cpu" in called


def test_a_program_that_is_not_installed(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=f"needs the program {PROGRAM}.*pip install nnunetv2"):
        load_segmenter(folder()).load()


def test_the_best_checkpoint_where_there_is_no_final_one(folder):
    made = load_segmenter(folder(folds=("all",), checkpoint="checkpoint_best.pth"))
    assert "-f all -chk checkpoint_best.pth" in made.description.command


@pytest.mark.parametrize(
    ("dataset", "folds", "problem"),
    [
        (DATASET | {"channel_names": {"0": "T1", "1": "T2"}}, ("0",), r"needs 2 images \(T1, T2\)"),
        (DATASET | {"file_ending": ".png"}, ("0",), "reads files that end with .png"),
        ({"labels": {}}, ("0",), "dataset.json: cannot be read"),
        (DATASET, (), "has no trained weights; legal: folders fold_0"),
    ],
)
def test_folders_that_are_refused(folder, dataset, folds, problem):
    with pytest.raises(UsageError, match=problem):
        load_segmenter(folder(dataset, folds))
