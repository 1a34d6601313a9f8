"""Results in the derivatives of a BIDS dataset, as the validator of BIDS sees them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_samples import brain, files_below, load, save_nifti

SEEN = ["sub-01/ses-1", "sub-01/ses-2", "sub-02/ses-1"]


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "study"
    for seed, place in enumerate(SEEN):
        name = place.replace("/", "_")
        for modality in ("T2w", "FLAIR"):
            path = folder / place / "anat" / f"{name}_{modality}.nii.gz"
            save_nifti(path, brain(seed=seed))
    description = {"Name": "A study", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


@pytest.fixture
def run(chiasm, dataset, segmenter):
    out = dataset / "derivatives" / "chiasm"
    words = ("-i", dataset, "-o", out, "--method", "histogram", "--segmenter", segmenter)
    return lambda *more: (chiasm("run", *words, *more), out)


def test_the_results_are_a_derivative_dataset(run, dataset):
    result, out = run("--participant-label", "02")
    assert result.code == 0
    place = "sub-02/ses-1/anat/sub-02_ses-1_desc-from"
    assert files_below(out) == [
        ".bidsignore",
        "README.md",
        "dataset_description.json",
        *(
            f"{place}{source}_{ending}"
            for source in ("FLAIR", "T2w")
            for ending in ("T1w.json", "T1w.nii.gz", "dseg.json", "dseg.nii.gz", "dseg.tsv")
        ),
    ]
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert [one["Name"] for one in described["GeneratedBy"]] == ["Chiasm"]
    assert described["SourceDatasets"] == [{"URL": "../../"}]
    beside = json.loads((out / f"{place}T2w_T1w.json").read_text())
    assert beside["Sources"] == ["bids:raw:sub-02/ses-1/anat/sub-02_ses-1_T2w.nii.gz"]
    assert beside["Description"] == "Synthetic T1w."
    assert beside["SkullStripped"] is True
    assert beside["Settings"]["method"] == "histogram"
    # What was made is no scan of the dataset.
    again, _ = run("--participant-label", "02", "--resume")
    assert (again.code, "2 of 2 scans were finished before" in again.out) == (0, True)


def test_the_validator_finds_no_error(run):
    tool = Path(sys.executable).with_name("bids-validator-deno")
    if not tool.exists():
        pytest.skip("bids-validator-deno is not installed")
    result, out = run()
    assert result.code == 0
    said = subprocess.run([tool, out, "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert [one for one in issues if one["severity"] == "error"] == []


def test_participants_and_sessions_are_chosen(run):
    result, out = run("--participant-label", "sub-01", "--session", "2")
    assert result.code == 0
    assert {name.split("/")[1] for name in files_below(out) if name.startswith("sub-")} == {"ses-2"}
    result, _ = run("--participant-label", "03")
    assert result.code == 2
    result.assert_said("--participant-label sub-03", "has no scan", "sub-01, sub-02")


def test_the_dataset_of_another_program_is_left_alone(run):
    _, out = run("--participant-label", "nobody")
    out.mkdir(parents=True)
    other = {"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}
    (out / "dataset_description.json").write_text(json.dumps(other))
    result, _ = run()
    assert result.code == 1
    result.assert_said("dataset_description.json", "did not make")
    assert files_below(out) == ["dataset_description.json"]


def test_an_interrupted_sidecar_is_written_again(run):
    _, out = run("--participant-label", "02")
    beside = out / "sub-02/ses-1/anat/sub-02_ses-1_desc-fromT2w_T1w.json"
    text = beside.read_text()
    image = load(beside.with_suffix(".nii.gz"))
    beside.unlink()
    result, _ = run("--participant-label", "02", "--resume")
    assert result.code == 0
    assert beside.read_text() == text
    np.testing.assert_array_equal(load(beside.with_suffix(".nii.gz")), image)
