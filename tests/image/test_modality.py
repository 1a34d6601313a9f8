"""Names of modalities: BIDS suffixes in any case, and what people type."""

import pytest

from chiasm.errors import UsageError
from chiasm.image.modality import SUFFIXES, modality_from_filename, modality_name, units_of


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_known_in_any_case(suffix):
    for name in (suffix, suffix.lower(), suffix.upper()):
        assert modality_name(name) == suffix
        assert modality_from_filename(f"sub-01_{name}.nii.gz") == suffix


@pytest.mark.parametrize(
    ("name", "suffix"), [("T1", "T1w"), ("t2", "T2w"), ("Pd", "PDw"), ("flair", "FLAIR")]
)
def test_short_names_are_understood(name, suffix):
    assert modality_name(name) == suffix


@pytest.mark.parametrize("name", ["T3", "", "T1 w", "brain"])
def test_an_unknown_name_is_refused_with_the_legal_ones(name):
    with pytest.raises(UsageError) as caught:
        modality_name(name, "--to")
    assert str(caught.value).startswith(f"--to {name}".rstrip() + ": ")
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("sub-01_ses-2_run-1_PDw.nii.gz", "PDw"),
        ("PD.nii", "PDw"),
        ("T2.NII.GZ", "T2w"),
        ("patient_t1.png", "T1w"),
        ("x_FLAIR.tiff", "FLAIR"),
        ("T1post.nii.gz", "T1ce"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "T1ce"),
        ("sub-01_ce-gadolinium_T2w.nii.gz", "T2w"),
        ("sub-ce-1_T1w.nii.gz", "T1w"),
        ("sub-01_dseg.nii.gz", None),
        ("T1w_sub-01.nii.gz", None),
        ("BrainT1Slice.png", None),
    ],
)
def test_file_names_end_with_the_modality(name, modality):
    assert modality_from_filename(name) == modality


def test_only_ct_has_absolute_units():
    assert units_of("CT") == "HU"
    assert units_of("T1w") == units_of(None) == "a.u."
