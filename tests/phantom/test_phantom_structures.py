"""The table of structures, against FreeSurfer's names of its labels."""

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.phantom.structures import (
    BRAIN_TISSUES,
    NAMES,
    STRUCTURES,
    TISSUE_OF,
    TISSUE_VALUES,
    index_of,
    of_tissue,
    structures_of,
)

# FreeSurfer's automatic segmentation (aseg): label → name in FreeSurferColorLUT.txt and tissue.
# Labels of a pair of structures are written together: left, right.
ASEG = {
    (2, 41): ("Cerebral-White-Matter", "white"),
    (3, 42): ("Cerebral-Cortex", "grey"),
    (4, 43): ("Lateral-Ventricle", "csf"),
    (5, 44): ("Inf-Lat-Vent", "csf"),
    (7, 46): ("Cerebellum-White-Matter", "white"),
    (8, 47): ("Cerebellum-Cortex", "grey"),
    (10, 49): ("Thalamus", "grey"),
    (11, 50): ("Caudate", "grey"),
    (12, 51): ("Putamen", "grey"),
    (13, 52): ("Pallidum", "grey"),
    (14,): ("3rd-Ventricle", "csf"),
    (15,): ("4th-Ventricle", "csf"),
    (16,): ("Brain-Stem", "white"),
    (17, 53): ("Hippocampus", "grey"),
    (18, 54): ("Amygdala", "grey"),
    (24,): ("CSF", "csf"),
    (25, 57): ("Lesion", "lesion"),
    (26, 58): ("Accumbens-area", "grey"),
    (28, 60): ("VentralDC", "white"),
    (30, 62): ("vessel", "csf"),
    (31, 63): ("choroid-plexus", "csf"),
    (72,): ("5th-Ventricle", "csf"),
    (77,): ("WM-hypointensities", "lesion"),
    (78, 79): ("WM-hypointensities", "lesion"),
    (85,): ("Optic-Chiasm", "white"),
    (251,): ("CC_Posterior", "white"),
    (252,): ("CC_Mid_Posterior", "white"),
    (253,): ("CC_Central", "white"),
    (254,): ("CC_Mid_Anterior", "white"),
    (255,): ("CC_Anterior", "white"),
}


@pytest.mark.parametrize("labels", ASEG, ids=lambda labels: ASEG[labels][0])
def test_every_label_of_freesurfer_has_its_tissue(labels):
    values = structures_of(np.array(labels), "x.nii.gz")
    assert [TISSUE_OF[value] for value in values] == [ASEG[labels][1]] * len(labels)
    assert len({*values.tolist()}) == 1  # left and right look alike


def test_different_structures_stay_different():
    names = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala")
    chosen = [labels[0] for labels, (name, _) in ASEG.items() if name in names]
    assert len({*structures_of(np.array(chosen), "x").tolist()}) == len(names)


def test_the_numbers_of_the_rest_of_the_head():
    labels = {502: "artery", 506: "eye", 507: "fat", 511: "skin", 514: "vein", 515: "compact bone"}
    found = structures_of(np.array([*labels]), "x")
    assert [NAMES[value] for value in found] == [*labels.values()]
    assert {TISSUE_OF[value] for value in found} == {"head"}


def test_shape_type_and_repetitions_are_kept():
    labels = np.random.default_rng(0).choice([0, 2, 41, 3, 515], (5, 6, 7))
    found = structures_of(labels, "x")
    assert found.shape == labels.shape
    assert found.dtype == np.uint8
    for label in (0, 2, 41, 3, 515):
        assert len({*found[labels == label].tolist()}) == 1


@pytest.mark.parametrize("labels", [[0, 2, 9999, 4001], [-1, 2], [0, 530, 531]])
def test_unknown_labels_are_named(labels):
    unknown = {one for one in labels if one in (9999, 4001, -1, 531)}
    with pytest.raises(CaseError) as caught:
        structures_of(np.array(labels), "person.nii.gz")
    message = str(caught.value)
    assert "person.nii.gz" in message
    assert f"has the unknown labels {', '.join(map(str, sorted(unknown)))};" in message
    assert "legal: FreeSurfer labels" in message


def test_no_label_belongs_to_two_structures():
    every = [label for one in STRUCTURES for label in one.labels]
    assert len(every) == len({*every})
    assert len(NAMES) == len({*NAMES})


def test_air_is_first_and_every_tissue_has_a_value():
    assert index_of("air") == 0
    assert {*TISSUE_OF} == {*TISSUE_VALUES}
    inside = of_tissue(*BRAIN_TISSUES)
    assert {STRUCTURES[index].tissue for index in inside} == {*BRAIN_TISSUES}
    assert all(TISSUE_VALUES[STRUCTURES[index].tissue] for index in inside)
    assert not any(TISSUE_VALUES[one] for one in ("air", "head"))


def test_the_order_of_brightness_that_radiologists_know():
    """T1: CSF < grey < deep grey < white < fat. CT: fat < CSF < white < grey < blood < bone."""
    t1, ct = (
        {one.name: getattr(one, key) for one in STRUCTURES}
        for key in ("t1_intensity", "hounsfield")
    )
    rising = ("air", "compact bone", "ventricles", "cortex", "putamen", "pallidum", "white matter")
    assert sorted(rising, key=t1.get) == [*rising]
    assert max(t1, key=t1.get) == "fat"
    rising = ("air", "fat", "ventricles", "white matter", "cortex", "vein", "compact bone")
    assert sorted(rising, key=ct.get) == [*rising]
