"""What a finished model says of its training data: its labels, and whether they were stripped."""

import nibabel as nib
import numpy as np
import pytest

from chiasm import files, load_segmenter, models
from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.phantom import Settings, subject
from chiasm.training.fit import train
from chiasm.training.settings import training_settings

AFFINE = np.diag([2.0, 2, 4, 1])
SHAPE = (20, 24, 5)
TINY = (
    "network.arguments.features=[4,4,4,4,4,4]",
    "iterations=1",
    "batch=2",
    "precision=32-true",
    "augmentation={flip: 0, rotation: 0, scale: 0}",
    "train_subjects=[sub-01, sub-02]",
    "validation_subjects=[sub-03]",
)


def radius():
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return np.sqrt(sum(a**2 for a in at))


def write_subject(folder, name, values, table=None):
    """A ball of shells, whose labels are these values from outside in."""
    place = folder / name
    place.mkdir(parents=True)
    which = np.clip((radius() / 0.9 * len(values)).astype(int), 0, len(values))
    labels = np.array([*values[::-1], 0], np.uint8)[which]
    rng = np.random.default_rng(len(values))
    image = np.where(labels > 0, 100 + 40 * which + rng.uniform(0, 5, SHAPE), 0)
    nib.save(nib.Nifti1Image(image.astype(np.float32), AFFINE), place / f"{name}_T1w.nii.gz")
    nib.save(nib.Nifti1Image(labels, AFFINE), place / f"{name}_dseg.nii.gz")
    if table is not None:
        rows = "".join(f"{value}\t{called}\n" for value, called in table.items())
        (place / f"{name}_dseg.tsv").write_text(f"index\tname\n{rows}")


@pytest.fixture
def folder(tmp_path):
    """The first subject lacks the values 3 and 4, and its table does not know them."""
    data = tmp_path / "data"
    write_subject(data, "sub-01", [1, 2], {0: "background", 1: "csf", 2: "grey"})
    write_subject(data, "sub-02", [1, 2, 3, 4], {1: "csf", 2: "grey", 3: "white", 4: "lesion"})
    write_subject(data, "sub-03", [1, 2, 3])
    return data


def trained(data, out, *words):
    settings = training_settings("segmenter", "T1w", None, (*TINY, *words))
    return train(data, out, settings, device="cpu")


def test_labels_that_the_first_subject_lacks_are_kept(folder, tmp_path):
    config = trained(folder, tmp_path / "model")
    expected = {0: "background", 1: "csf", 2: "grey", 3: "white", 4: "lesion"}
    assert {one.value: one.name for one in config.labels} == expected
    # The network has a channel for each, and what it makes has their values.
    model = models.load(tmp_path / "model", kind="segmenter")
    assert model.module.network.network.final_conv.out_channels == 5
    segmenter = load_segmenter(tmp_path / "model", Resources(device="cpu"))
    scan = files.read(folder / "sub-02" / "sub-02_T1w.nii.gz", modality="T1w")
    made = segmenter.segment(scan).labels
    assert [one.value for one in made.labels] == [0, 1, 2, 3, 4]
    assert set(np.unique(made.array)) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize("fast", ["bf16-mixed", "32-true"])
def test_the_precision_is_that_of_the_device_unless_it_is_given(
    fast, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("chiasm.training.fit.fast_precision", lambda device: fast)
    made = trained(folder, tmp_path / "auto", "precision=auto")
    assert (made.training["precision"], made.training["settings"]["precision"]) == (fast, "auto")
    assert trained(folder, tmp_path / "given").training["precision"] == "32-true"


def test_a_label_counts_as_another_where_the_settings_say_so(folder, tmp_path):
    config = trained(folder, tmp_path / "model", "merge_labels={4: 3}")
    assert [one.value for one in config.labels] == [0, 1, 2, 3]
    with pytest.raises(
        UsageError, match=r"merge_labels 4: would be merged into 9, which no label map holds"
    ):
        trained(folder, tmp_path / "other", "merge_labels={4: 9}")


def test_label_4_of_a_foreign_data_set_is_a_label_of_its_own(tmp_path):
    """It is not taken for the white-matter lesions of the digital brains."""
    for name in ("sub-01", "sub-02", "sub-03"):
        write_subject(tmp_path / "data", name, [1, 2, 4], {4: "thalamus"})
    config = trained(tmp_path / "data", tmp_path / "model")
    named = {one.value: one.name for one in config.labels}
    assert named == {0: "background", 1: "label-1", 2: "label-2", 4: "thalamus"}


def test_two_tables_that_disagree_are_refused(folder, tmp_path):
    table = folder / "sub-02" / "sub-02_dseg.tsv"
    table.write_text(table.read_text().replace("grey", "white matter"))
    with pytest.raises(
        CaseError, match="gives the value 2 the name white matter; legal: the name grey, as in"
    ) as e:
        trained(folder, tmp_path / "model")
    assert "sub-02_dseg.nii.gz" in str(e.value)
    assert "sub-01_dseg.nii.gz" in str(e.value)
    assert not (tmp_path / "model").exists()


def write_brains(folder, head):
    for number in (1, 2, 3):
        made = subject(number, Settings(spacing=4.0, head=head, modalities=("T1w",)))
        name = f"sub-0{number}"
        (folder / name).mkdir(parents=True)
        volume = made.volumes["T1w"]
        assert isinstance(volume, Volume)
        image = nib.Nifti1Image(volume.array, volume.affine)
        nib.save(image, folder / name / f"{name}_T1w.nii.gz")


@pytest.mark.long
@pytest.mark.parametrize("head", [False, True], ids=["stripped", "whole heads"])
def test_whether_a_model_knows_brains_alone_is_measured(tmp_path, head):
    write_brains(tmp_path / "data", head)
    out = tmp_path / "model"
    settings = training_settings("regression", "T1w", None, TINY)
    assert settings.brain_only is None
    config = train(tmp_path / "data", out, settings, device="cpu")
    assert config.brain_only is not head
    assert models.load(out, kind="translator").config.brain_only is not head
    words = "whole heads" if head else "skull-stripped brains"
    assert words in (out / models.CARD).read_text()
    # What a user says goes before what is measured.
    told = training_settings("regression", "T1w", None, (*TINY, f"brain_only={str(head).lower()}"))
    config = train(tmp_path / "data", tmp_path / "told", told, device="cpu")
    assert config.brain_only is head
