"""Which files of folders and datasets are scans, what is left out, and that it is counted."""

import builtins
import gzip
import io
import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from chiasm import files
from chiasm.comparison.cases import find_sessions
from chiasm.errors import CaseError, UsageError
from chiasm.files import not_scans
from chiasm.files.find import (
    find_images,
    find_maps,
    find_scans,
    mask_beside,
    spare_inputs,
)
from chiasm.image.volume import LabelVolume, Volume
from chiasm.training.data import find_subjects

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
VOLUME = Volume(ARRAY, np.eye(4))
LABELS = LabelVolume(ARRAY.astype(int) % 4, np.eye(4))


def scan(folder, *paths):
    """Real NIfTI files that another program wrote."""
    for name in paths:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.Nifti1Image(ARRAY, np.eye(4)).to_filename(path)
    return folder / paths[-1]


def absent(folder, name):
    """What datalad leaves where the content was not fetched."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("../.git/annex/objects/Xw/Mz/MD5E-s1--0.nii.gz/MD5E-s1--0.nii.gz")
    return path


def describe(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"Name": "x", "BIDSVersion": "1.8.0", **content})
    (folder / "dataset_description.json").write_text(text)


def below(folder, found):
    return [one.path.relative_to(folder).as_posix() for one in found.scans]


def left(folder, found):
    return {
        reason: sorted(path.relative_to(folder).as_posix() for path in paths)
        for reason, paths in found.left_out.items()
    }


def test_a_bids_dataset_with_sessions(tmp_path):
    describe(tmp_path)
    scan(
        tmp_path,
        "sub-01/ses-b/anat/sub-01_ses-b_acq-x_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii",
        "sub-02/anat/sub-02_FLAIR.nii.gz",
        "sub-02/anat/sub-02_part-phase_T2starw.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii.gz",
        "sub-01/ses-a/perf/sub-01_ses-a_m0scan.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-b1_TB1TFL.nii.gz",
        "sub-01/ses-a/fmap/oddly named.nii.gz",
        "sub-02/anat/sub-02_desc-brain_mask.nii.gz",
        "sub-02/anat/sub-02_space-MNI152_label-GM_probseg.nii.gz",
        "sourcedata/raw/sub-02/anat/sub-02_T2w.nii.gz",
        "derivatives/fmriprep/sub-02/anat/sub-02_desc-preproc_T2w.nii.gz",
        "derivatives/fmriprep/sub-02/anat/sub-02_dseg.nii.gz",
        "derivatives/fmriprep/sub-02/func/sub-02_boldref.nii.gz",
        "code/tests/T1w.nii.gz",
        ".git/annex/objects/T2w.nii.gz",
    )
    found = find_scans([tmp_path])
    assert [(one.subject, one.session, one.modality) for one in found.scans] == [
        ("sub-01", "ses-a", "T2w"),
        ("sub-01", "ses-b", "T2w"),
        ("sub-02", "", "FLAIR"),
    ]
    assert [str(one.below) for one in found.scans] == [
        "sub-01/ses-a/anat",
        "sub-01/ses-b/anat",
        "sub-02/anat",
    ]
    assert not any(one.explicit or one.warnings for one in found.scans)
    assert not found.errors
    assert sorted(found.sentences()) == [
        "1 image was left out because it lies in the folder code of a BIDS dataset.",
        "1 image was left out because it lies in the folder sourcedata of a BIDS dataset.",
        "2 images were left out because they lie in the folder derivatives of a BIDS dataset.",
        "3 label maps or masks were left out.",
        "6 images were left out because they are functional, diffusion, perfusion or field-map "
        "images (dwi, fmap, TB1TFL, bold, m0scan, part-phase).",
    ]


def test_a_folder_that_is_set_aside_can_be_the_input_itself(tmp_path):
    describe(tmp_path)
    describe(tmp_path / "derivatives/prep", GeneratedBy=[{"Name": "fMRIPrep"}])
    scan(tmp_path, "derivatives/prep/sub-1/anat/sub-1_desc-preproc_T1w.nii.gz")
    scan(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    for folder in ("derivatives", "derivatives/prep", "derivatives/prep/sub-1/anat"):
        (one,) = find_scans([tmp_path / folder]).scans
        assert one.path.name == "sub-1_desc-preproc_T1w.nii.gz"
    (one,) = find_scans([tmp_path]).scans
    assert one.path.name == "sub-1_T1w.nii.gz"


def test_a_folder_that_is_no_dataset_may_have_folders_of_these_names(tmp_path):
    scan(tmp_path, "code/T1.nii.gz", "derivatives/ana_T2.nii.gz")
    assert below(tmp_path, find_scans([tmp_path])) == [
        "code/T1.nii.gz",
        "derivatives/ana_T2.nii.gz",
    ]


@pytest.mark.parametrize("key", ["GeneratedBy", "PipelineDescription"])
def test_a_dataset_that_says_that_chiasm_made_it(tmp_path, key):
    scan(tmp_path, "ana/T2.nii.gz", "out/ana/T1w.nii.gz", "other/ana/T1w.nii.gz")
    scan(tmp_path, "out/ana/dseg.nii.gz")
    maker = {"Name": "Chiasm", "Version": "0.1"}
    describe(tmp_path / "out", **{key: [maker] if key == "GeneratedBy" else maker})
    describe(tmp_path / "other", GeneratedBy=[{"Name": "SynthSR"}])
    found = find_scans([tmp_path])
    assert below(tmp_path, found) == ["ana/T2.nii.gz", "other/ana/T1w.nii.gz"]
    assert found.sentences() == ["2 images that Chiasm made were left out."]


def test_phantoms_are_scans_though_chiasm_made_them(tmp_path):
    describe(tmp_path, DatasetType="raw", GeneratedBy=[{"Name": "chiasm"}])
    anat = tmp_path / "sub-01/anat"
    files.write(VOLUME, anat / "sub-01_T1w.nii.gz", mark="phantom")
    truth = files.write(LABELS, anat / "sub-01_dseg.nii.gz", mark="phantom")
    assert find_images(tmp_path) == [anat / "sub-01_T1w.nii.gz"]
    assert find_maps(tmp_path, "dseg") == [truth]


@pytest.mark.parametrize("name", ["a_T1w.nii", "a_T1w.nii.gz", "a_T1w.png", "a_T1w.tif"])
@pytest.mark.parametrize("mark", ["synthetic", "segmentation"])
def test_what_chiasm_wrote_is_known_by_its_header(tmp_path, name, mark):
    made = Volume(np.outer(np.arange(20), np.arange(21))[..., None], np.eye(4))
    path = files.write(made, tmp_path / name, mark=mark)
    real = files.write(made, tmp_path / f"real_{name}")
    found = find_scans([tmp_path])
    assert [one.path for one in found.scans] == [real]
    assert found.sentences() == ["1 image that Chiasm made was left out."]
    (named,) = find_scans([path]).scans
    assert named.explicit
    assert "was made by Chiasm" in named.warnings[0]
    assert find_scans([real]).scans[0].warnings == ()


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_the_description_is_what_nibabel_reads(tmp_path, kind, order, ending):
    path = tmp_path / f"a.{ending}"
    image = kind(ARRAY, np.eye(4))
    header = image.header.as_byteswapped(order)
    header["descrip"] = b"made with care" * 10
    kind(ARRAY, np.eye(4), header).to_filename(path)
    expected = nib.load(path).header["descrip"].item().decode()
    assert len(expected) >= 79
    assert files.description(path) == expected


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"\x1f\x8bnonsense" * 99, b"text" * 200])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.png", "a.tif"])
def test_a_damaged_file_has_no_description_and_stays_a_scan(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert files.description(path) == ""
    assert find_images(tmp_path) == [path]


@pytest.mark.parametrize(
    "stem",
    [
        "sub-01_dseg", "sub-01_space-MNI_res-2_desc-aseg_dseg", "sub-01_label-lesion_mask",
        "sub-01_label-GM_probseg", "sub-01_T1w_label-L_desc-T1lesion_mask", "sub-01_T2w_lesion_roi",
        "sub-01_ses-1_msk", "sub-01_defacemask", "BraTS2021_00002_seg", "BraTS-GLI-00002-000-seg",
        "Brats18_2013_0_1_SEG", "lesions", "LESION", "brainmask", "brainMask", "mask", "Mask_1",
        "training_seg_03", "brain01_labels", "label", "ROI", "aseg", "aseg.auto_noCCseg",
        "aparc+aseg", "aparc.a2009s+aseg", "aparc.DKTatlas+aseg.deep", "wmparc", "ribbon",
        "lh.ribbon", "lh.hippoAmygLabels-T1.v22.FSvoxelSpace", "brainmask.auto", "wm", "filled",
        "T1_pve_0", "T1_pveseg", "T1_brain_mask", "IBSR_01_seg_ana", "IBSR_01_segTRI",
        "ManualSegmentation_1", "Consensus", "wmh", "GT", "T1 mask", "csf", "grey",
    ],
)  # fmt: skip
def test_label_maps_by_name(stem):
    assert not_scans.is_label_map(stem)


@pytest.mark.parametrize(
    "stem",
    [
        "sub-01_T1w", "sub-01_desc-preproc_T2w", "BraTS2021_00002_t1ce", "IXI002-Guys-0828-PD",
        "BraTS-GLI-00002-000-t2f", "ana", "T1", "orig", "norm", "brain", "nu", "T1_masked_T2",
        "lesion_study_07_FLAIR", "Leroi", "Rosegarden", "scct_unsmooth_SS_0.01", "Müller T1",
        "sub-mask01_T1w", "sub-01_inv-1_MP2RAGE", "c1T1", "patient_seven", "BrainT1Slice",
    ],
)  # fmt: skip
def test_scans_by_name(stem):
    assert not not_scans.is_label_map(stem)


def test_tissue_maps_of_spm_are_known_by_their_scan(tmp_path):
    scan(tmp_path, "T1.nii", "c1T1.nii", "c2T1.nii", "c1other.nii")
    assert below(tmp_path, find_scans([tmp_path])) == ["T1.nii", "c1other.nii"]


def test_brats_ixi_and_nnunet(tmp_path):
    scan(
        tmp_path,
        "BraTS-GLI-00002-001/BraTS-GLI-00002-001-t1n.nii.gz",
        "BraTS-GLI-00002-001/BraTS-GLI-00002-001-t2f.nii.gz",
        "BraTS-GLI-00002-001/BraTS-GLI-00002-001-seg.nii.gz",
        "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
        "imagesTr/BRATS_001_0000.nii.gz",
        "labelsTr/BRATS_001.nii.gz",
    )
    found = find_scans([tmp_path])
    assert [(one.subject, one.session, one.modality) for one in found.scans] == [
        ("BraTS-GLI-00002", "001", "T1w"),
        ("BraTS-GLI-00002", "001", "FLAIR"),
        ("IXI002", "", "PDw"),
        ("imagesTr/BRATS_001", "", None),
    ]
    assert found.sentences() == ["2 label maps or masks were left out."]


def test_a_freesurfer_subject(tmp_path):
    scan(tmp_path, *(f"bert/mri/{name}.nii.gz" for name in ("T1", "aseg", "wm", "lh.ribbon")))
    assert below(tmp_path, find_scans([tmp_path])) == ["bert/mri/T1.nii.gz"]


def test_a_named_file_is_always_taken_with_a_warning(tmp_path):
    named = {
        "sub-01_dseg.nii.gz": "a label map or a mask",
        "sub-01_task-rest_bold.nii.gz": "field-map image by its name or folder (bold)",
        "fmap/odd.nii.gz": "field-map image by its name or folder (fmap)",
        "sub-01_T1w.nii.gz": None,
    }
    scan(tmp_path, *named)
    found = find_scans([tmp_path / name for name in named])
    assert len(found.scans) == 4
    assert not found.left_out
    for one, warning in zip(found.scans, named.values(), strict=True):
        assert one.explicit
        assert one.below == Path()
        assert len(one.warnings) == (warning is not None)
        if warning:
            assert warning in one.warnings[0]
            assert one.warnings[0].endswith(".")


def test_a_file_that_a_folder_leaves_out_is_taken_where_it_is_named(tmp_path):
    scan(tmp_path, "sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz")
    label_map = tmp_path / "sub-01_dseg.nii.gz"
    for inputs in ([tmp_path, label_map], [label_map, tmp_path]):
        found = find_scans(inputs)
        assert {one.path.name: one.explicit for one in found.scans} == {
            "sub-01_T1w.nii.gz": False,
            "sub-01_dseg.nii.gz": True,
        }
        assert found.sentences() == []


def test_one_file_by_many_ways_counts_once(tmp_path, monkeypatch):
    path = scan(tmp_path, "in/deep/a_T2w.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    ways = [
        "in", "in/deep", "in/deep/a_T2w.nii.gz", path, tmp_path / "in/../in/deep/a_T2w.nii.gz",
        "link/deep/a_T2w.nii.gz", "link", "./in/",
    ]  # fmt: skip
    for inputs in (ways, ways[::-1], ways[2:4], ways[5:]):
        assert len(find_scans([Path(one) for one in inputs]).scans) == 1
    (one,) = find_scans([Path("in"), path]).scans
    assert (one.explicit, one.below) == (True, Path("deep"))


def test_two_links_to_one_object_are_two_scans(tmp_path):
    content = scan(tmp_path, ".git/annex/objects/aa/content.nii.gz")
    for subject in ("sub-01", "sub-02"):
        link = tmp_path / subject / f"{subject}_T1w.nii.gz"
        link.parent.mkdir()
        link.symlink_to(content)
    found = find_scans([tmp_path])
    assert [one.subject for one in found.scans] == ["sub-01", "sub-02"]
    assert len(find_scans([one.path for one in found.scans]).scans) == 2


def test_links_to_folders(tmp_path):
    """A dataset whose subjects are links into its own sourcedata, and a link in a circle."""
    describe(tmp_path)
    scan(tmp_path, "sourcedata/raw/sub-01/anat/sub-01_T1w.nii.gz", "sourcedata/raw/x_T1w.nii.gz")
    (tmp_path / "sub-01").symlink_to(tmp_path / "sourcedata/raw/sub-01")
    (tmp_path / "sourcedata/back").symlink_to(tmp_path)
    scan(tmp_path.parent / f"{tmp_path.name}-elsewhere", "y_T1w.nii.gz")
    (tmp_path / "sourcedata/away").symlink_to(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    found = find_scans([tmp_path])
    assert below(tmp_path, found) == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert left(tmp_path, found) == {"in sourcedata": ["sourcedata/raw/x_T1w.nii.gz"]}


def test_content_that_is_absent_is_an_error_that_names_the_link(tmp_path):
    scan(tmp_path, "sub-01/sub-01_T2w.nii.gz")
    link = absent(tmp_path, "sub-02/sub-02_T2w.nii.gz")
    absent(tmp_path, "sub-02/func/sub-02_task-x_bold.nii.gz")
    absent(tmp_path, "sub-02/sub-02_dseg.nii.gz")
    found = find_scans([tmp_path])
    assert [one.subject for one in found.scans] == ["sub-01"]
    assert found.absent == (link,)
    (error,) = found.errors
    assert f"{link}: is a link whose content is absent" in str(error)
    assert f"`datalad get {link}`" in str(error)
    assert len(find_scans([tmp_path, link, tmp_path / "sub-02"]).errors) == 1
    (error,) = find_scans([link]).errors
    assert "datalad get" in str(error)
    with pytest.raises(CaseError, match="datalad get"):
        find_images(tmp_path)
    with pytest.raises(CaseError, match="datalad get"):
        files.read(link)


@pytest.mark.parametrize(
    "text", ["/annex/objects/MD5E-s1--0.nii.gz\n", "version https://git-lfs.x"]
)
def test_a_text_in_the_place_of_the_content(tmp_path, text):
    (tmp_path / "a_T2w.nii.gz").write_text(text)
    (error,) = find_scans([tmp_path]).errors
    assert "content is absent" in str(error)


def test_what_is_not_there(tmp_path):
    good = scan(tmp_path, "a_T1w.nii.gz")
    found = find_scans([tmp_path / "no.nii.gz", good, tmp_path / "nowhere"], argument="--in")
    assert [one.path for one in found.scans] == [good]
    assert all(str(e).startswith("--in ") and "does not exist" in str(e) for e in found.errors)
    assert len(found.errors) == 2


def test_a_folder_without_scans_says_what_was_left_out(tmp_path):
    scan(tmp_path, "in/a_dseg.nii.gz", "in/func/a_bold.nii.gz", "in/func/b_bold.nii.gz")
    files.write(VOLUME, tmp_path / "in/a_T1w.nii.gz", synthetic=True)
    with pytest.raises(CaseError) as error:
        find_scans([tmp_path / "in"])
    for part in (
        "1 label map or mask was",
        "2 images were left out because",
        "Chiasm made",
        "named",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    good = scan(tmp_path, "a_T2w.nii.gz")
    found = find_scans([tmp_path / "in", good])
    assert [one.path for one in found.scans] == [good]
    assert "holds no image that can be used" in str(found.errors[0])


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    scan(tmp_path, "a/x_T1w.nii.gz", "b/y_T1w.nii.gz")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_scans([tmp_path])
    assert below(tmp_path, found) == ["a/x_T1w.nii.gz"]
    (error,) = found.errors
    assert f"{tmp_path / 'b'}: cannot be read (Permission denied)" in str(error)


def test_a_modality_alone_and_a_modality_left_out(tmp_path):
    scan(tmp_path, "a_T1w.nii.gz", "a_PDw.nii.gz", "a_dseg.nii.gz", "odd.nii.gz")
    only = find_scans([tmp_path], modality="pd")
    assert below(tmp_path, only) == ["a_PDw.nii.gz"]
    without = find_scans([tmp_path], leave_out="T1w")
    assert below(tmp_path, without) == ["a_PDw.nii.gz", "odd.nii.gz"]
    assert "1 image was left out because it is already T1w." in without.sentences()
    named = find_scans([tmp_path / "a_T1w.nii.gz"], leave_out="T1w", modality="pd")
    assert len(named.scans) == 1
    with pytest.raises(UsageError, match="T7"):
        find_scans([tmp_path], modality="T7")


def test_names_with_capitals_spaces_and_umlauts(tmp_path):
    scan(tmp_path, "Größe 2/Müller ä_T2W.NII", "Größe 2/Müller ä_SEG.NII.GZ", "Ünal/T1.nii.gz")
    found = find_scans([tmp_path])
    assert [(one.path.name, one.modality) for one in found.scans] == [
        ("Müller ä_T2W.NII", "T2w"),
        ("T1.nii.gz", "T1w"),
    ]
    assert found.scans[0].below == Path("Größe 2")


def test_the_subject_of_a_named_file(tmp_path):
    paths = ["sub-07/ses-2/anat/T2w.nii.gz", "ana/T1.nii", "sub-08_ses-1_T1w.nii.gz"]
    scan(tmp_path, *paths)
    found = find_scans([tmp_path / path for path in paths])
    assert [(one.subject, one.session) for one in found.scans] == [
        ("sub-07", "ses-2"),
        ("ana", ""),
        ("sub-08", "ses-1"),
    ]


def test_a_thousand_subjects_are_found_without_opening_other_files(tmp_path, monkeypatch):
    describe(tmp_path)
    noise = np.random.default_rng(0).random((16, 16, 16))  # no file of a scan is tiny
    template = gzip.compress(nib.Nifti1Image(noise, np.eye(4)).to_bytes())
    for number in range(1000):
        name = f"sub-{number:04d}"
        for place in (f"anat/{name}_T1w", f"anat/{name}_dseg", f"func/{name}_task-x_bold"):
            path = tmp_path / name / f"{place}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(template)
        path = tmp_path / "derivatives/tool" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(template)
    opened = []

    def counting(path, *arguments, **named):
        opened.append(str(path))
        return real(path, *arguments, **named)

    real = builtins.open
    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)
    monkeypatch.setattr(nib, "load", None)
    found = find_scans([tmp_path])
    monkeypatch.undo()
    assert len(found.scans) == 1000
    images = [path for path in opened if path.endswith(".nii.gz")]
    assert sorted(images) == [str(one.path) for one in found.scans]  # each once
    assert len(opened) - len(images) == 1  # the dataset's description


def test_finding_imports_no_torch():
    code = "import sys, chiasm.files.find, chiasm.cohort.plan; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


# Label maps and masks.


def test_maps_of_other_programs_in_derivatives_are_found(tmp_path):
    describe(tmp_path)
    describe(tmp_path / "derivatives/chiasm", GeneratedBy=[{"Name": "chiasm"}])
    scan(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_desc-tumour_mask.nii.gz",
        "derivatives/prep/sub-01/func/sub-01_task-x_desc-brain_mask.nii.gz",
        "derivatives/chiasm/sub-01/anat/sub-01_desc-a_dseg.nii.gz",
    )
    files.write(LABELS, tmp_path / "derivatives/more/sub-01_dseg.nii.gz", mark="segmentation")
    files.write(LABELS, tmp_path / "sub-01/anat/sub-01_dseg.nii.gz", mark="synthetic")
    manual = tmp_path / "derivatives/manual/sub-01/anat"
    assert find_maps(tmp_path, "dseg") == [manual / "sub-01_dseg.nii.gz"]
    assert find_maps(tmp_path, "mask") == [manual / "sub-01_desc-brain_mask.nii.gz"]
    assert find_maps(tmp_path, "probseg") == []
    link = absent(tmp_path, "sub-02/anat/sub-02_dseg.nii.gz")
    assert link in find_maps(tmp_path, "dseg")


@pytest.mark.parametrize(
    ("name", "others", "expected"),
    [
        ("sub-01_T2w", ["sub-01_T2w_mask"], 0),
        ("sub-01_T2w", ["sub-01_desc-brain_mask"], 0),
        ("sub-01_T2w", ["sub-01_mask", "sub-01_T2w_brain_mask", "mask"], 1),
        ("sub-01_desc-preproc_T2w", ["sub-01_desc-brain_mask"], 0),
        ("sub-01_desc-preproc_T2w", ["sub-01_T2w_desc-brain_mask"], 0),
        ("sub-01_acq-a_T2w", ["sub-01_acq-b_desc-brain_mask", "sub-01_desc-brain_mask"], None),
        ("sub-01_T2w", ["sub-01_space-MNI_desc-brain_mask"], None),
        ("sub-01_space-MNI_T2w", ["sub-01_space-MNI_desc-brain_mask", "sub-01_mask"], 0),
        ("sub-01_T2w", ["sub-01_T1w_mask", "sub-02_mask"], None),
        ("sub-01_T2w", ["sub-01_label-lesion_mask", "sub-01_T2w_lesion", "sub-01_dseg"], None),
        ("sub-01_T2w", ["brainmask"], 0),
        ("T2", ["T1", "mask"], 1),
        ("ana_T2", ["ben_T2", "mask"], None),
        ("IXI002-Guys-0828-T1", ["IXI002-Guys-0828-T1_brainmask", "IXI012-HH-1211-T1_mask"], 0),
        ("Ana_T2", ["ANA_t2_MASK"], 0),
        ("patient seven", ["patient seven_bet_mask"], 0),
        ("sub-01_T2w", [], None),
    ],
)  # fmt: skip
def test_the_mask_beside_a_scan(tmp_path, name, others, expected):
    path = scan(tmp_path, *(f"{one}.nii.gz" for one in (*others, name)))
    mask = None if expected is None else tmp_path / f"{others[expected]}.nii.gz"
    assert mask_beside(path) == mask


@pytest.mark.parametrize(
    "others", [["sub-01_mask", "sub-01_desc-brain_mask"], ["brainmask", "mask"]]
)
def test_two_masks_that_could_be_meant(tmp_path, others):
    path = scan(tmp_path, *(f"{one}.nii.gz" for one in (*others, "sub-01_T2w")))
    with pytest.raises(CaseError) as error:
        mask_beside(path)
    for part in (*others, path, "--mask"):
        assert str(part) in str(error.value)


# What training and comparison take.


def translated(tmp_path):
    """Two subjects with a real T2 each; T1 and labels are of Chiasm, without any description."""
    for name in ("ana", "ben"):
        scan(tmp_path, f"{name}/T2w.nii.gz")
        files.write(VOLUME, tmp_path / name / "T1w.nii.gz", synthetic=True)
        files.write(LABELS, tmp_path / name / "dseg.nii.gz", synthetic=True)


def test_training_takes_nothing_that_chiasm_made(tmp_path):
    translated(tmp_path)
    with pytest.raises(CaseError, match=r"holds no T1w image .*2 images that Chiasm made"):
        find_subjects(tmp_path, "T1w")
    assert [one.name for one in find_subjects(tmp_path, "T2w")] == ["ana", "ben"]


def test_training_takes_no_label_map_that_chiasm_made(tmp_path):
    scan(tmp_path, "ana_T1w.nii.gz", "ana_dseg.nii.gz", "ben_T1w.nii.gz")
    files.write(LABELS, tmp_path / "ben_dseg.nii.gz", mark="segmentation")
    with pytest.raises(CaseError, match=r"ben_T1w.* has no label map but one that Chiasm made"):
        find_subjects(tmp_path, "T1w", with_labels=True)


def test_a_comparison_takes_nothing_that_chiasm_made(tmp_path):
    translated(tmp_path)
    with pytest.raises(CaseError, match=r"holds no T1w image .*2 images that Chiasm made"):
        find_sessions(tmp_path, "T1w")
    scan(tmp_path, "carl/T1w.nii.gz", "carl/T2w.nii.gz")
    files.write(LABELS, tmp_path / "carl/dseg.nii.gz", mark="segmentation")
    (session,), told = find_sessions(tmp_path, "T1w")
    assert (session.subject, session.truth) == ("carl", None)
    assert "2 images that Chiasm made were left out." in told


# Inputs are spared.


def test_no_output_may_be_an_input_by_any_spelling(tmp_path, monkeypatch):
    given = scan(tmp_path, "in/a_T1w.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "report.json").symlink_to(given)
    monkeypatch.chdir(tmp_path)
    for output in ("in/a_T1w.nii.gz", "link/a_T1w.nii.gz", "in/../in/a_T1w.nii.gz", "report.json"):
        with pytest.raises(UsageError, match=r"--report .* is one of the input files"):
            spare_inputs([Path("new"), Path(output)], [given], "--report")
    spare_inputs([tmp_path / "b.json", tmp_path / "in/other.nii.gz"], [given])


def test_files_that_a_folder_left_out_are_spared_but_for_those_of_chiasm(tmp_path):
    scan(tmp_path, "a_T2w.nii.gz")
    manual = scan(tmp_path, "a_dseg.nii.gz")
    own = files.write(LABELS, tmp_path / "b_dseg.nii.gz", mark="segmentation")
    link = absent(tmp_path, "c_T2w.nii.gz")
    search = find_scans([tmp_path])
    for path in (manual, link):
        with pytest.raises(UsageError, match="is one of the input files"):
            spare_inputs([path], search)
    spare_inputs([own], search)
