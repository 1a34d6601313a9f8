"""The BIDS folder: its layout, its tables, its bytes, what it refuses."""

import csv
import json

import numpy as np
import pytest

from chiasm import files
from chiasm.errors import CaseError, UsageError
from chiasm.phantom import Settings, subject, write_dataset
from chiasm.phantom.dataset import subject_seed

SETTINGS = Settings(spacing=6, modalities=("T1", "FLAIR"), lesions=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bids") / "brains"
    calls = []
    made = write_dataset(folder, 2, 7, SETTINGS, progress=calls.append)
    assert calls == [1, 1]
    assert made == [folder / "sub-01", folder / "sub-02"]
    return folder


@pytest.fixture(scope="module")
def second():
    return subject(subject_seed(7, 2), SETTINGS)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout(dataset):
    expected = {"dataset_description.json", "participants.tsv", "participants.json"}
    for name in ("sub-01", "sub-02"):
        expected |= {
            f"{name}/anat/{name}_{end}"
            for end in ("T1w.nii.gz", "FLAIR.nii.gz", "dseg.nii.gz", "dseg.tsv")
        }
    assert set(contents(dataset)) == expected


def test_description(dataset):
    description = json.loads((dataset / "dataset_description.json").read_text())
    assert description["BIDSVersion"].startswith("1.")
    assert description["Name"]
    assert description["DatasetType"] == "raw"


def test_images_are_the_subject_s(dataset, second):
    anat = dataset / "sub-02" / "anat"
    image = files.read(anat / "sub-02_FLAIR.nii.gz")
    assert image.modality == "FLAIR"
    assert (image.array == second.volumes["FLAIR"].array).all()
    assert image.same_grid(second.labels)
    labels = files.read_labels(anat / "sub-02_dseg.nii.gz")
    assert (labels.array == second.labels.array).all()
    assert [label.name for label in labels.labels] == [
        "background", "csf", "grey", "white", "lesion",
    ]  # fmt: skip


def test_images_are_marked_synthetic(dataset):
    import nibabel as nib

    image = nib.load(dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert bytes(image.header["descrip"]).startswith(b"synthetic")


def test_participants(dataset, second):
    with (dataset / "participants.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    simulated, row = second, rows[1]
    assert int(row["seed"]) == subject_seed(7, 2)
    assert float(row["size_y"]) == simulated.parameters["size"][1]
    assert float(row["lesion_volume_ml"]) == simulated.parameters["lesion_volume_ml"]
    for name in ("T1w", "FLAIR"):
        for key in ("repetition_time_ms", "cnr_grey_white", "noise_sigma"):
            assert float(row[f"{name}_{key}"]) == simulated.parameters[name][key]
    assert float(row["FLAIR_inversion_time_ms"]) > 1000
    assert all(row.values()), "BIDS wants n/a where there is no value"
    described = json.loads((dataset / "participants.json").read_text())
    assert list(described) == list(row)
    assert all(column["Description"] for column in described.values())
    assert described["T1w_echo_time_ms"] == {"Description": "Echo time (T1w)", "Units": "ms"}


def test_same_arguments_same_bytes(dataset, tmp_path):
    write_dataset(tmp_path, 1, 7, SETTINGS)
    again, before = contents(tmp_path), contents(dataset)
    for name in (n for n in again if n.startswith("sub-")):
        assert again[name] == before[name]


def test_subjects_differ():
    seeds = {subject_seed(seed, number) for seed in range(20) for number in range(1, 20)}
    assert len(seeds) == 20 * 19


def test_existing_output_is_refused_before_any_work(dataset, monkeypatch):
    before = contents(dataset)
    monkeypatch.setattr("chiasm.phantom.dataset.subject", lambda *_: pytest.fail("it computed"))
    with pytest.raises(CaseError, match="exists"):
        write_dataset(dataset, 2, 8, SETTINGS)
    assert contents(dataset) == before


def test_overwrite(tmp_path):
    settings = Settings(spacing=8, modalities=("T1",))
    write_dataset(tmp_path, 1, 1, settings)
    before = contents(tmp_path)
    write_dataset(tmp_path, 1, 2, settings, overwrite=True)
    after = contents(tmp_path)
    assert set(after) == set(before)
    name = "sub-01/anat/sub-01_T1w.nii.gz"
    assert after[name] != before[name]


def test_files_of_other_subjects_are_refused(dataset, monkeypatch):
    monkeypatch.setattr("chiasm.phantom.dataset.subject", lambda *_: pytest.fail("it computed"))
    with pytest.raises(CaseError, match="sub-02"):
        write_dataset(dataset, 1, 7, SETTINGS, overwrite=True)
    with pytest.raises(CaseError, match="FLAIR"):
        write_dataset(dataset, 2, 7, Settings(spacing=6, modalities=("T1",)), overwrite=True)


@pytest.mark.parametrize(("subjects", "seed", "named"), [(0, 1, "--subjects"), (1, -1, "--seed")])
def test_illegal_numbers(tmp_path, subjects, seed, named):
    with pytest.raises(UsageError, match=named):
        write_dataset(tmp_path / "new", subjects, seed)
    assert not (tmp_path / "new").exists()


def test_names_grow_with_the_number_of_subjects(tmp_path, monkeypatch):
    simulated = subject(0, Settings(spacing=8, modalities=("T1",)))
    monkeypatch.setattr("chiasm.phantom.dataset.subject", lambda *_, **__: simulated)
    made = write_dataset(tmp_path, 100, 0, Settings(spacing=8, modalities=("T1",)))
    assert made[0].name == "sub-001"
    assert made[-1].name == "sub-100"
    assert np.unique([path.name for path in made]).size == 100
