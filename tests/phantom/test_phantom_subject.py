"""One subject: repeatable, with independent modalities and parameters that match the arrays."""

import json

import numpy as np
import pytest

from chiasm.errors import UsageError
from chiasm.image.volume import Volume
from chiasm.phantom import Settings, subject

CSF, GREY, WHITE, LESION = 1, 2, 3, 4


def median(simulated, modality, label):
    return np.median(simulated.volumes[modality].array[simulated.labels.array == label])


def test_another_seed_is_another_subject(healthy, seed):
    other = subject(seed + 1, Settings(spacing=4, modalities=("T1",)))
    assert (other.labels.array != healthy.labels.array).mean() > 0.05
    assert other.parameters["size"] != healthy.parameters["size"]
    assert other.parameters["T1w"] != healthy.parameters["T1w"]


def test_same_seed_same_bytes_whatever_else_is_asked_for(healthy, seed):
    some = subject(seed, Settings(spacing=4, modalities=("flair", "T1")))
    assert list(some.volumes) == ["FLAIR", "T1w"]
    assert some.labels.array.tobytes() == healthy.labels.array.tobytes()
    for name, volume in some.volumes.items():
        assert volume.array.tobytes() == healthy.volumes[name].array.tobytes()
    others = {"PDw", "T2w"}
    assert some.parameters == {k: v for k, v in healthy.parameters.items() if k not in others}


def test_everything_lies_on_one_grid(healthy):
    assert set(healthy.volumes) == {"T1w", "PDw", "T2w", "FLAIR"}
    for name, volume in healthy.volumes.items():
        assert isinstance(volume, Volume)
        assert volume.modality == name
        assert volume.units == "a.u."
        assert volume.same_grid(healthy.labels)
    assert healthy.labels.spacing == (4, 4, 4)
    assert healthy.labels.orientation == "RAS"
    # The MNI field of view, 197 × 233 × 189 mm, with its middle where it was.
    assert healthy.labels.shape == (50, 59, 48)
    middle = healthy.labels.affine @ (*(np.array(healthy.labels.shape) - 1) / 2, 1)
    assert middle[:3] == pytest.approx([0, -18, 22])


def test_outside_the_brain_is_nothing(healthy):
    outside = healthy.labels.array == 0
    for volume in healthy.volumes.values():
        assert (volume.array[outside] == 0).all()
        assert (volume.array[~outside] > 0).mean() > 0.999


def test_air_around_a_head_is_noise(headed):
    for name, volume in headed.volumes.items():
        sigma = headed.parameters[name]["noise_sigma"]
        corner = volume.array[:5, :5, -5:]
        assert corner.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.15)


def test_fat_is_bright_on_t1_around_a_head(headed, healthy):
    around = headed.volumes["T1w"].array[headed.labels.array == 0]
    assert np.percentile(around, 99) > 1.1 * median(headed, "T1w", WHITE)


def test_contrast_of_the_images(healthy):
    t1, pd, t2, flair = (
        [median(healthy, m, label) for label in (CSF, GREY, WHITE)]
        for m in ("T1w", "PDw", "T2w", "FLAIR")
    )
    assert t1[0] < t1[1] < t1[2]
    assert t2[2] < t2[1] < t2[0]
    assert pd[2] < pd[1]
    assert flair[0] < min(flair[1:])
    assert all(100 < values[2] < 2000 for values in (t1, pd, t2, flair))


def test_labels_are_the_tissues(healthy, sick):
    assert set(np.unique(healthy.labels.array)) == {0, 1, 2, 3}
    assert set(np.unique(sick.labels.array)) == {0, 1, 2, 3, 4}
    assert [label.name for label in sick.labels.labels] == [
        "background", "csf", "grey", "white", "lesion",
    ]  # fmt: skip


def test_lesions_lie_in_white_matter_alone(healthy, sick):
    changed = healthy.labels.array != sick.labels.array
    assert (healthy.labels.array[changed] == WHITE).all()
    assert (sick.labels.array[changed] == LESION).all()
    assert changed.any()


def test_lesions_are_bright_on_flair(sick):
    lesion = median(sick, "FLAIR", LESION)
    assert lesion > 1.15 * median(sick, "FLAIR", WHITE)
    assert lesion > median(sick, "FLAIR", GREY)
    assert median(sick, "T2w", LESION) > 1.15 * median(sick, "T2w", WHITE)
    assert median(sick, "T1w", LESION) < median(sick, "T1w", WHITE)


def test_recorded_lesions(healthy, sick):
    assert healthy.parameters["lesion_count"] == 0
    assert healthy.parameters["lesion_volume_ml"] == 0
    assert 4 <= sick.parameters["lesion_count"] <= 30
    both = ("csf_volume_ml", "grey_volume_ml")
    assert all(healthy.parameters[key] == sick.parameters[key] for key in both)
    white = sick.parameters["white_volume_ml"] + sick.parameters["lesion_volume_ml"]
    assert white == pytest.approx(healthy.parameters["white_volume_ml"], rel=1e-6)


def test_recorded_contrast_is_that_of_the_arrays(sick):
    for name, volume in sick.volumes.items():
        drawn = sick.parameters[name]
        mean = {
            tissue: volume.array[sick.labels.array == label].mean(dtype=np.float64)
            for tissue, label in (("csf", CSF), ("grey", GREY), ("white", WHITE))
        }
        for a, b in (("csf", "grey"), ("grey", "white"), ("csf", "white")):
            expected = abs(mean[a] - mean[b]) / drawn["noise_sigma"]
            assert drawn[f"cnr_{a}_{b}"] == pytest.approx(expected, rel=1e-4)


def test_recorded_noise_is_in_proportion_to_white_matter(healthy):
    for name in healthy.volumes:
        drawn = healthy.parameters[name]
        assert 20 <= drawn["snr_white"] <= 50
        # Bias, texture and mixed voxels move the median by a few per cent.
        ratio = median(healthy, name, WHITE) / drawn["noise_sigma"]
        assert ratio == pytest.approx(drawn["snr_white"], rel=0.2)


def test_parameters_are_json_and_in_range(sick):
    parameters = json.loads(json.dumps(sick.parameters))
    assert parameters["field_strength_t"] in (1.5, 3.0)
    assert all(0.92 <= s <= 1.08 for s in parameters["size"])
    assert all(abs(angle) <= 5 for angle in parameters["rotation_deg"])
    for name in ("T1w", "PDw", "T2w", "FLAIR"):
        assert 0.05 <= parameters[name]["bias_strength"] <= 0.2
        assert parameters[name]["slice_thickness_mm"] == 4


@pytest.mark.parametrize(
    "values",
    [
        {"spacing": 0},
        {"spacing": -1},
        {"spacing": 8.1},
        {"spacing": float("nan")},
        {"modalities": ()},
        {"modalities": ("CT",)},
        {"modalities": ("T1", "nonsense")},
        {"field_strengths": (7.0,)},
        {"lesions": "some"},
        {"lesion": True},
    ],
)
def test_illegal_settings(values):
    with pytest.raises(UsageError) as error:
        Settings(**values)
    (name,) = values
    assert str(error.value).startswith(f"--{name.replace('_', '-')} ")
    assert "legal: " in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_know_the_short_names():
    assert Settings(modalities=("t1", "T1w", "flair")).modalities == ("T1w", "FLAIR")
    assert Settings(modalities=["PD"]).modalities == ("PDw",)


def test_illegal_seed():
    with pytest.raises(UsageError, match="--seed -1"):
        subject(-1)
