"""Source images in training: pairs that are aligned, and unpaired ones that never meet."""

import numpy as np
import pytest
import torch

from chiasm import files
from chiasm.errors import CaseError, UsageError
from chiasm.image.volume import Volume
from chiasm.methods.aldm.samples import AnyToAnySamples
from chiasm.training.data import Samples, Subject, find_subjects
from chiasm.training.settings import Augmentation, TrainingSettings
from chiasm.training.sources import UnpairedSamples, find_paired, split_unpaired

SHAPE, AFFINE = (20, 24, 5), np.diag([2.0, 2, 4, 1])
SETTINGS = {"method": "paired", "target": "T1w"}


def head():
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return np.sqrt(sum(a**2 for a in at)) < 0.9


def save(path, array, modality):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(Volume(np.where(head(), array, 0), AFFINE, modality=modality), path)


@pytest.fixture
def folder(tmp_path):
    """Four subjects; PDw falls as T1w rises, T2w rises with it, both exactly linearly."""
    for seed in range(4):
        stem = tmp_path / "bids" / f"sub-0{seed + 1}"
        t1 = np.random.default_rng(seed).uniform(100, 300, SHAPE)
        for modality, array in (("T1w", t1), ("PDw", 1000 - 3 * t1), ("T2w", 2 * t1 + 50)):
            save(stem / f"{stem.name}_{modality}.nii.gz", array, modality)
    return tmp_path / "bids"


def core(mask):
    """Voxels whose neighbourhood in plane is all within the mask."""
    return torch.nn.functional.max_pool2d((~mask).float(), 9, stride=1, padding=4) == 0


def paired(folder, *sources):
    settings = TrainingSettings(**SETTINGS, sources=list(sources))
    subjects = find_paired(folder, find_subjects(folder, "T1w"), settings.sources)
    return Samples(subjects, settings, divisible_by=8)


@pytest.mark.parametrize("augmentation", [None, Augmentation(rotation=20, scale=0.2)])
def test_a_pair_lies_voxel_on_voxel(folder, augmentation):
    """On [0, 1] by their own percentiles, PDw is 1 − T1w and T2w is T1w."""
    samples = paired(folder, "PD", "T2")
    seen = set()
    for step in range(4):
        batch = samples.batch(6, (0, step), augmentation)
        torch.testing.assert_close(batch.source_mask, batch.mask)
        inner = core(batch.mask)  # outside the head both are 0, and interpolation reaches there
        assert inner.sum() > 50
        for image, source, where in zip(batch.image, batch.source, inner, strict=True):
            rises = (source - image)[where].abs().max() < 1e-4
            falls = (source + image - 1)[where].abs().max() < 1e-4
            assert not where.any() or rises != falls
            seen.add(bool(rises))
    assert seen == {True, False}  # each sample draws one of the sources


WITHOUT_INTERPOLATION = {"rotation": 0, "scale": 0}


@pytest.mark.parametrize("flip", [0, 1])
def test_boxes_are_the_images_own_voxels_about_the_head(folder, flip):
    samples = paired(folder, "PD", "T2")
    whole, rows = samples.images[:, 0].numpy(), set()
    cut = Augmentation(flip=flip, crop=[8, 16], **WITHOUT_INTERPOLATION)
    for step in range(6):
        batch = samples.batch(4, (0, step), cut)
        assert batch.image.shape == batch.source.shape == batch.mask.shape == (4, 1, 8, 16)
        assert batch.mask.flatten(1).any(1).all()
        falls = (batch.source + batch.image - 1)[batch.mask].abs() < 1e-4
        rises = (batch.source - batch.image)[batch.mask].abs() < 1e-4
        assert (falls | rises).all()
        for box in batch.image[:, 0].numpy():
            box = box[::-1] if flip else box
            found = [
                (k, i, j)
                for k, one in enumerate(whole)
                for i in range(one.shape[0] - 7)
                for j in range(one.shape[1] - 15)
                if np.array_equal(one[i : i + 8, j : j + 16], box)
            ]
            assert len(found) == 1
            rows.add(found[0][1])
    assert len(rows) > 3


def test_flips_alone_move_whole_voxels(folder):
    samples = paired(folder, "PD")
    still = samples.batch(8, (0, 1), Augmentation(flip=0, **WITHOUT_INTERPOLATION))
    assert torch.equal(still.image, samples.batch(8, (0, 1), None).image)
    turned = samples.batch(8, (0, 1), Augmentation(flip=1, **WITHOUT_INTERPOLATION))
    for name in ("image", "mask", "source", "source_mask"):
        assert torch.equal(getattr(turned, name), getattr(still, name).flip(2)), name
    some = samples.batch(64, (0, 1), Augmentation(flip=0.5, **WITHOUT_INTERPOLATION))
    plain = samples.batch(64, (0, 1), None)
    share = (some.image == plain.image).flatten(1).all(1).float().mean()
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("crop", [[8], [8, 8, 8], [12, 8], [8, 400]])
def test_a_box_that_cannot_be_cut_is_refused(folder, crop):
    with pytest.raises(UsageError, match=r"augmentation\.crop"):
        paired(folder, "PD").check(Augmentation(crop=crop, **WITHOUT_INTERPOLATION))


def test_a_box_must_fit_sources_of_other_subjects_too(folder):
    for name in [f"sub-0{k}" for k in (1, 2)]:  # thin heads
        path = folder / name / f"{name}_PDw.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        thin = np.pad(np.random.default_rng(1).uniform(1, 2, (12, 20, 5)), [(2, 2), (2, 2), (0, 0)])
        files.write(Volume(thin, AFFINE, modality="PDw"), path, overwrite=True)
    settings = TrainingSettings(**SETTINGS, sources=["PD"])
    scans = find_subjects(folder, "T1w")
    scans += [one for one in find_subjects(folder, "PDw") if one.name in ("sub-01", "sub-02")]
    samples = UnpairedSamples(scans, settings, divisible_by=8)
    narrow = min(samples.images.shape[2], samples.others.images.shape[2])
    assert narrow < samples.images.shape[2]
    samples.check(Augmentation(crop=[narrow, 16], **WITHOUT_INTERPOLATION))
    box = [samples.images.shape[2], 16]
    with pytest.raises(UsageError, match=r"augmentation\.crop"):
        samples.check(Augmentation(crop=box, **WITHOUT_INTERPOLATION))


def test_the_targets_draws_are_the_same_with_sources_and_without(folder):
    alone = Samples(find_subjects(folder, "T1w"), TrainingSettings(**SETTINGS), divisible_by=8)
    for augmentation in (None, Augmentation()):
        one = alone.batch(5, (3, 7), augmentation)
        other = paired(folder, "PD", "T2").batch(5, (3, 7), augmentation)
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.mask, other.mask)
        assert one.source is None


def test_a_batch_depends_on_seed_and_step_alone(folder):
    settings = TrainingSettings(**SETTINGS, sources=["PD"], validation_subjects=["sub-04"])
    scans = [one for name in ("T1w", "PDw") for one in find_subjects(folder, name)]
    unpaired = UnpairedSamples(scans, settings, divisible_by=8)
    for samples in (paired(folder, "PD", "T2"), unpaired):
        first, again, other = (samples.batch(4, (0, k), Augmentation()) for k in (5, 5, 6))
        assert torch.equal(first.source, again.source)
        assert torch.equal(first.source_mask, again.source_mask)
        assert not torch.equal(first.source, other.source)


def test_sources_on_another_grid_are_resampled_onto_the_targets(tmp_path):
    """Both are linear in space, so linear in one another wherever they are sampled."""

    def scan(shape, affine):
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
        inside = ((x - 20) / 18) ** 2 + ((y - 24) / 22) ** 2 + ((z - 8) / 8) ** 2 < 1
        return np.where(inside, 200 + x + 2 * y + z, 0)

    fine = np.array([[1e-7, -1.0, 0, 42], [1.0, 2e-7, 0, -2], [0, 0, 1.5, -3], [0, 0, 0, 1]])
    for modality, shape, affine in (("T1w", SHAPE, AFFINE), ("PDw", (52, 46, 15), fine)):
        volume = Volume(scan(shape, affine), affine, modality=modality)
        files.write(volume, tmp_path / f"a_{modality}.nii.gz")
    batch = paired(tmp_path, "PD").batch(16, (0, 0), None)
    inner = core(batch.mask & batch.source_mask)
    inner &= ((batch.image - 0.5).abs() < 0.45) & ((batch.source - 0.5).abs() < 0.45)
    target, source = batch.image[inner].numpy(), batch.source[inner].numpy()
    assert len(target) > 500
    # The percentiles of the two lattices differ a little: any line will do, but a line.
    fit = np.polynomial.Polynomial.fit(target, source, 1)
    assert np.abs(fit(target) - source).max() < 0.02
    assert fit(0.75) - fit(0.25) == pytest.approx(0.5, rel=0.05)

    turned = np.array([[1.0, 0.5, 0, 0], [-0.5, 1, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
    volume = Volume(scan((52, 46, 15), fine), turned, modality="PDw")
    files.write(volume, tmp_path / "a_PDw.nii.gz", overwrite=True)
    with pytest.raises(CaseError, match=r"a_PDw.nii.gz: .*is rotated relative to"):
        paired(tmp_path, "PD")


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("sub-01/anat/sub-01_ses-2_T1w.nii.gz", "sub-01/anat/sub-01_ses-2_PDw.nii.gz"),
        ("ana_T1.nii.gz", "ana_pd.nii"),
        ("ana/T1w.nii.gz", "ana/PD.nii.gz"),
    ],
)
def test_a_source_is_found_beside_the_target_by_name(tmp_path, target, source):
    for name in (target, source, "other_T1w.nii.gz", "other_PDw.nii.gz"):
        save(tmp_path / name, np.random.default_rng(0).uniform(1, 9, SHAPE), None)
    (tmp_path / "other_T1w.nii.gz").unlink()
    (found,) = find_paired(tmp_path, find_subjects(tmp_path, "T1w"), ["PDw"])
    assert [one.image for one in found.sources] == [tmp_path / source]
    (tmp_path / source).unlink()
    with pytest.raises(CaseError, match="has no PDw image beside it"):
        find_paired(tmp_path, find_subjects(tmp_path, "T1w"), ["PDw"])


def scans(**modalities):
    """Subjects of modalities, without files."""
    return [
        Subject(name, f"{name}_{modality}", modality)
        for modality, names in modalities.items()
        for name in names
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_training_subject_is_seen_as_both_target_and_source(seed):
    names = [f"sub-{k:02d}" for k in range(20)]
    settings = TrainingSettings(**SETTINGS, sources=["PD", "T2"], seed=seed)
    train, validation = split_unpaired(scans(T1w=names, PDw=names, T2w=names[:15]), settings)
    targets = {one.name for one in train if one.modality == "T1w"}
    sources = {one.name for one in train if one.modality != "T1w"}
    held = {one.name for one in validation}
    assert (len(held), len(targets), len(sources)) == (2, 9, 9)
    assert targets | sources | held == set(names)
    assert {one.modality for one in validation} >= {"T1w", "PDw"}


def test_subjects_with_one_of_the_two_are_all_used():
    found = scans(T1w=["a", "b", "c"], PDw=["c", "d", "e"])
    settings = TrainingSettings(**SETTINGS, sources=["PD"], validation_subjects=["c"])
    train, validation = split_unpaired(found, settings)
    assert sorted(f"{one.name} {one.modality}" for one in train) == [
        "a T1w", "b T1w", "d PDw", "e PDw",
    ]  # fmt: skip
    assert sorted(one.modality for one in validation) == ["PDw", "T1w"]


def test_a_side_without_sources_is_refused():
    found = scans(T1w=["a", "b", "c"], PDw=["d", "e"])
    settings = TrainingSettings(**SETTINGS, sources=["PD"], validation_subjects=["c"])
    with pytest.raises(CaseError, match="leaves validation with T1w alone"):
        split_unpaired(found, settings)


def test_every_unpaired_draw_is_of_other_subjects(folder):
    settings = TrainingSettings(**SETTINGS, sources=["PD"], validation_subjects=["sub-04"])
    found = [one for name in ("T1w", "PDw") for one in find_subjects(folder, name)]
    train, _ = split_unpaired(found, settings)
    samples = UnpairedSamples(train, settings, divisible_by=8)

    def known(modality, of_sources):
        """The samples of one subject's scan, as bytes → its name."""
        names = {one.name for one in train if (one.modality == "PDw") == of_sources}
        return {
            image.numpy().tobytes(): one.name
            for one in find_subjects(folder, modality)
            if one.name in names
            for image in Samples([one], settings, divisible_by=8).images
        }

    targets, sources = known("T1w", False), known("PDw", True)
    pairs = set()
    for step in range(5):
        batch = samples.batch(8, (0, step), None)
        pairs |= {
            (targets[image.numpy().tobytes()], sources[source.numpy().tobytes()])
            for image, source in zip(batch.image, batch.source, strict=True)
        }
    assert len(pairs) > 1
    assert all(one != other for one, other in pairs)


def test_a_folder_for_each_modality_as_ixi_has(tmp_path):
    for subject in ("IXI002-Guys-0828", "IXI012-HH-1211"):
        for modality in ("T1", "PD"):
            save(tmp_path / f"IXI-{modality}" / f"{subject}-{modality}.nii.gz", 1.0, modality)
    subjects = find_paired(tmp_path, find_subjects(tmp_path, "T1w"), ["PDw"])
    assert [one.name for one in subjects] == ["IXI002", "IXI012"]
    for one in subjects:
        assert one.sources[0].image.name == one.image.name.replace("T1", "PD")


def test_two_scans_that_may_be_meant_are_refused(tmp_path):
    for name in ("a/IXI002-Guys-0828-T1", "b/IXI002-Guys-0828-PD", "c/IXI002-Guys-0828-PD"):
        save(tmp_path / f"{name}.nii.gz", 1.0, None)
    with pytest.raises(CaseError, match="has 2 PDw images"):
        find_paired(tmp_path, find_subjects(tmp_path, "T1w"), ["PDw"])


def test_from_any_modality_to_any_other(folder):
    settings = TrainingSettings(**SETTINGS, sources=["PD", "T2"])
    subjects = find_paired(folder, find_subjects(folder, "T1w"), settings.sources)
    samples = AnyToAnySamples(subjects, settings, divisible_by=8)
    plain = [paired(folder, "PD"), paired(folder, "T2")]
    every = [plain[0].images, *(one.sources[:, 0] for one in plain)]
    pairs = set()
    for step in range(8):
        batch = samples.batch(6, (0, step), None)
        for k, image in enumerate(batch.image):
            target, source = int(batch.modality[k]), int(batch.source_modality[k])
            (where,) = (n for n, one in enumerate(every[target]) if torch.equal(one, image))
            assert torch.equal(batch.source[k], every[source][where])
            known = np.quantile(image[batch.mask[k]], 0.5)
            assert abs(np.quantile(batch.population[k], 0.5) - known) < 0.2
            pairs.add((target, source))
    assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}
