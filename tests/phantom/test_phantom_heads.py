"""Random heads, against the label map that they are drawn from."""

import numpy as np
import pytest
import torch

from chiasm.errors import CaseError
from chiasm.phantom.heads import (
    Draw,
    HeadSettings,
    LabelMap,
    brain_mask,
    draw_head,
    read_label_map,
)
from chiasm.phantom.structures import BRAIN_TISSUES, index_of, of_tissue, structures_of

STILL = HeadSettings(
    rotation=0, shear=0, scale=0, bending=0, ventricles=0, atrophy=0, lesions=0, tumour=0,
    resection=0, cortical_thickness=(100, 100),
)  # fmt: skip
CSF, CORTEX, WHITE, VENTRICLES = (
    index_of(name) for name in ("csf", "cortex", "white matter", "ventricles")
)
SKIN, FAT, MUSCLE = (index_of(name) for name in ("skin", "fat", "muscle"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def person(make_head, tmp_path_factory, save_labels):
    return read_label_map(save_labels(tmp_path_factory.mktemp("p") / "p.nii.gz", make_head()))


def of_map(structures, spacing=1.0, name="made"):
    sizes = tuple(np.broadcast_to(np.asarray(spacing, float), 3).tolist())
    return LabelMap(np.ascontiguousarray(structures.astype(np.uint8)), sizes, name)


# ---- reading


@pytest.mark.parametrize("axes", ["LIA", "RAS", "PSR"])
def test_a_label_map_is_read_in_ras_and_cropped_to_the_head(tmp_path, make_head, save_labels, axes):
    labels = make_head()
    spacing = (1.0, 1.5, 2.0)
    found = read_label_map(save_labels(tmp_path / "a.nii.gz", labels, spacing, axes))
    inside = np.argwhere(labels)
    box = tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0), strict=True))
    np.testing.assert_array_equal(found.structures, structures_of(labels[box], "a"))
    assert found.spacing == pytest.approx(spacing)
    assert found.name == "a.nii.gz"
    assert found.counts.sum() == found.structures.size
    assert found.counts[WHITE] == np.isin(labels, (2, 41)).sum()


def test_a_label_map_of_air_is_refused(tmp_path, save_labels):
    path = save_labels(tmp_path / "air.nii.gz", np.zeros((8, 8, 8), np.int16))
    with pytest.raises(CaseError, match=r"air\.nii\.gz: holds no head"):
        read_label_map(path)


def test_points_lie_in_the_tissues_they_name(person):
    for points, tissues in ((person.brain_points, BRAIN_TISSUES), (person.head_points, ("head",))):
        voxels = np.round(points / person.spacing).astype(int)
        assert len(voxels) > 10
        assert np.isin(person.structures[tuple(voxels.T)], of_tissue(*tissues)).all()


# ---- geometry


@pytest.mark.parametrize("shape", [(40, 48, 40), (41, 47, 39)])
def test_without_any_change_the_head_is_the_label_map_or_its_mirror_image(shape):
    # Every row of voxels differs from its neighbours, so that half a voxel would be seen.
    stored = np.random.default_rng(0).choice([CSF, CORTEX, WHITE, VENTRICLES], shape)
    for seed in range(6):
        head = draw_head(of_map(stored), shape, 1.0, STILL, generator(seed), centred=True)
        made = head.structures.numpy()
        mirrored = stored[::-1]
        assert (made == stored).all() or (made == mirrored).all()
        assert head.structures.dtype == torch.uint8
        assert head.brain.dtype == torch.bool
        assert head.brain.shape == shape


def test_left_and_right_are_each_mirrored_half_of_the_time():
    stored = np.zeros((9, 8, 8))
    stored[:3] = WHITE
    low = [
        bool(draw_head(of_map(stored), stored.shape, 1.0, STILL, generator(seed), centred=True)
             .structures[0].any())
        for seed in range(40)
    ]  # fmt: skip
    assert 11 < sum(low) < 29


@pytest.mark.parametrize("factor", [2, 3])
def test_an_anisotropic_map_keeps_its_size_in_mm(factor):
    """Voxels of 1 × 2 × 3 mm become cubes of 1 mm: every voxel is repeated."""
    stored = np.random.default_rng(0).choice([CSF, CORTEX, WHITE], (9, 7, 5))
    spacing = (1.0, 2.0, float(factor))
    expected = stored.repeat(2, axis=1).repeat(factor, axis=2)
    head = draw_head(
        of_map(stored, spacing), expected.shape, 1.0, STILL, generator(2), centred=True
    )
    made = head.structures.numpy()
    assert (made == expected).all() or (made == expected[::-1]).all()


def test_depth_is_the_distance_from_other_brain_tissue():
    rng = np.random.default_rng(0)
    stored = rng.choice([CSF, CORTEX, WHITE, FAT], (7, 8, 6), p=[0.1, 0.7, 0.05, 0.15])
    spacing = (1.0, 1.5, 2.0)
    places = np.argwhere(stored == WHITE) * spacing
    depth = of_map(stored, spacing).depth
    for voxel in np.ndindex(stored.shape):
        apart = np.sqrt(((places - np.multiply(voxel, spacing)) ** 2).sum(1)).min()
        beyond = max(apart - np.mean(spacing) / 2, 0)
        wanted = beyond if stored[voxel] == CORTEX else 0
        assert depth[voxel] * 0.05 == pytest.approx(wanted, abs=0.026)
    assert not of_map(np.full((4, 4, 4), CORTEX)).depth.any()


@pytest.mark.parametrize("spacing", [1.0, 0.5])
def test_a_sulcus_between_two_banks_of_cortex_is_opened(spacing):
    """White matter at both ends, 14 mm of cortex between them, and a thickness of 3 mm."""
    stored = np.full((20, 24, 24), CORTEX)
    stored[:3] = stored[17:] = WHITE
    settings = STILL.model_copy(update={"cortical_thickness": (3.0, 3.0)})
    shape = tuple(round(n / spacing) for n in stored.shape)
    for seed in range(4):
        head = draw_head(of_map(stored), shape, spacing, settings, generator(seed), centred=True)
        lines = head.structures.reshape(shape[0], -1)
        cortex = (lines == CORTEX).sum(0).double() * spacing / 2
        # A line may lose up to 1 mm by the voxels of the map, and thickness varies in space.
        assert float(cortex.mean()) == pytest.approx(3, abs=0.8)
        assert float(cortex.std()) < 1
        assert (lines[shape[0] // 2] == CSF).all()
        assert (lines == WHITE).sum() == np.prod(shape) * 6 / 20
        assert head.brain.reshape(shape[0], -1)[shape[0] // 2].double().mean() > 0.9


def test_atrophy_thins_the_cortex():
    stored = np.full((20, 24, 24), CORTEX)
    stored[:3] = stored[17:] = WHITE
    volumes = []
    for share in (0, 1):
        changed = {"cortical_thickness": (3.0, 3.0), "atrophy": share}
        settings = STILL.model_copy(update=changed)
        heads = [
            draw_head(of_map(stored), (20, 24, 24), 1.0, settings, generator(seed), centred=True)
            for seed in range(12)
        ]
        volumes.append(sum(int((head.structures == CORTEX).sum()) for head in heads))
    assert 0.65 * volumes[0] < volumes[1] < 0.95 * volumes[0]


@pytest.mark.parametrize("thickness", [(3, 2), (0, 2), (2,)])
def test_an_illegal_thickness_is_refused(thickness):
    with pytest.raises(ValueError, match="cortical_thickness"):
        HeadSettings(cortical_thickness=thickness)


def test_coarser_voxels_show_the_same_head(person):
    fine = draw_head(person, (40, 48, 40), 1.0, STILL, generator(1), centred=True)
    coarse = draw_head(person, (20, 24, 20), 2.0, STILL, generator(1), centred=True)
    for index in (WHITE, CORTEX, CSF):
        volumes = [float((one.structures == index).sum()) for one in (fine, coarse)]
        assert volumes[1] * 8 == pytest.approx(volumes[0], rel=0.12)


def test_a_box_larger_than_the_head_is_air_around_it(person):
    shape = tuple(n + 30 for n in person.structures.shape)
    head = draw_head(person, shape, 1.0, STILL, generator(0), centred=True)
    inner = head.structures[15:-15, 15:-15, 15:-15]
    assert int((head.structures != 0).sum()) == int((inner != 0).sum())
    assert int((inner != 0).sum()) == int((person.structures != 0).sum())
    assert not head.structures[0].any()
    assert not head.brain[0].any()


def test_a_box_of_one_slice(person):
    head = draw_head(person, (32, 32, 1), 1.0, HeadSettings(), generator(0))
    assert head.structures.shape == (32, 32, 1)


def test_scale_and_rotation_change_volumes_as_geometry_says(person):
    scaled = STILL.model_copy(update={"scale": 0.2})
    for seed in range(2):
        before = draw_head(person, (52, 60, 52), 1.0, STILL, generator(seed), centred=True)
        after = draw_head(person, (52, 60, 52), 1.0, scaled, generator(seed), centred=True)
        draw = Draw(generator(seed))
        draw.each(3)
        common, each = draw.uniform(-1, 1), draw.each(3)
        wanted = float((1 + 0.2 * (0.6 * common + 0.4 * each)).prod())
        sizes = [float((one.structures != 0).sum()) for one in (before, after)]
        assert sizes[1] / sizes[0] == pytest.approx(wanted, rel=0.03)
    turned = STILL.model_copy(update={"rotation": 90})
    after = draw_head(person, (52, 60, 52), 1.0, turned, generator(5), centred=True)
    assert float((after.structures != 0).sum()) == pytest.approx(sizes[0], rel=0.02)
    assert (after.structures != before.structures).any()


def test_the_walls_of_the_ventricles_move(make_head):
    """The walls move outwards by at most the setting, and inwards by at most a third of it."""
    still = STILL.model_copy(update={"ventricles": 0})
    moving = STILL.model_copy(update={"ventricles": 4})
    person = of_map(structures_of(make_head((48, 48, 48)), "x"))
    grown = []
    for seed in range(6):
        one, two = (
            draw_head(person, (32, 32, 32), 1.0, chosen, generator(seed), centred=True).structures
            for chosen in (still, moving)
        )
        radii = [float((x == VENTRICLES).sum() * 3 / 4 / np.pi) ** (1 / 3) for x in (one, two)]
        grown.append(radii[1] - radii[0])
        assert -4 / 3 - 0.2 < grown[-1] < 4.2
    assert min(grown) < -0.3
    assert max(grown) > 1.5


def test_the_direction_outwards_does_not_depend_on_the_voxel_size(make_head):
    structures = structures_of(make_head((41, 49, 41)), "x")
    fine = of_map(structures.repeat(2, 0).repeat(2, 1).repeat(2, 2)).outwards
    uneven = of_map(structures.repeat(2, 1), (2.0, 1.0, 2.0)).outwards
    assert float((fine**2).sum(1).max()) == pytest.approx(1, abs=1e-5)
    assert uneven.shape[0:2] == (1, 3)
    shape = tuple(min(a, b) for a, b in zip(fine.shape[2:], uneven.shape[2:], strict=True))
    part = (slice(None), slice(None), *(slice(0, n) for n in shape))
    assert float((fine[part] - uneven[part]).abs().max()) < 0.15


# ---- random streams


def test_the_same_seed_gives_the_same_head_and_another_another(person):
    settings = HeadSettings(lesions=1, tumour=1, resection=1, atrophy=1)
    one, again, other = (
        draw_head(person, (24, 24, 24), 1.5, settings, generator(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(one.structures, again.structures)
    assert torch.equal(one.brain, again.brain)
    assert not torch.equal(one.structures, other.structures)


def test_boxes_lie_in_the_head_and_mostly_in_the_brain(person):
    centres = []
    for seed in range(50):
        head = draw_head(person, (3, 3, 3), 1.0, STILL, generator(seed))
        centres.append(int(head.structures[1, 1, 1]))
    assert all(centres)  # no air
    inside = np.isin(centres, of_tissue(*BRAIN_TISSUES)).mean()
    assert 0.6 < inside < 0.95


@pytest.mark.parametrize("outside", [True, False])
def test_boxes_of_a_head_that_has_only_one_of_brain_and_skull(make_head, outside):
    labels = make_head(outside=outside)
    if outside:  # a skull without a brain
        labels[~np.isin(labels, (511, 507, 515, 506))] = 0
    person = of_map(structures_of(labels, "x"))
    for seed in range(10):
        head = draw_head(person, (8, 8, 8), 2.0, HeadSettings(lesions=1, tumour=1, resection=1),
                         generator(seed))  # fmt: skip
        assert head.structures.any()
        assert outside is False or not head.brain.any()


# ---- disease


def changes(person, seeds=range(4), **settings):
    """Structures before and after one disease, with the same shape of the head."""
    for seed in seeds:
        yield tuple(
            draw_head(
                person, (40, 48, 40), 1.0, STILL.model_copy(update=chosen), generator(seed),
                centred=True,
            ).structures
            for chosen in ({}, settings)
        )  # fmt: skip


def test_lesions_lie_in_white_matter(person):
    lesion = index_of("white-matter lesion")
    counts = []
    for before, after in changes(person, lesions=1):
        counts.append(int((after == lesion).sum()))
        assert (before[after == lesion] == WHITE).all()
        assert torch.equal(before[after != lesion], after[after != lesion])
    assert all(counts)


def test_tumours_lie_in_the_brain_with_oedema_in_white_matter(person):
    tumour, oedema, necrosis = (index_of(one) for one in ("tumour", "oedema", "necrosis"))
    parenchyma = torch.tensor(of_tissue("grey", "white", "lesion"))
    found = torch.zeros(64, dtype=torch.bool)
    for before, after in changes(person, range(8), tumour=1):
        changed = after != before
        assert changed.any()
        assert torch.isin(before[changed].long(), parenchyma).all()
        assert torch.isin(after[changed].long(), torch.tensor([tumour, oedema, necrosis])).all()
        found[after.unique().long()] = True
    assert found[[tumour, oedema, necrosis]].all()


def test_resections_are_csf_in_the_brain(person):
    for before, after in changes(person, resection=1):
        changed = after != before
        assert int(changed.sum()) > 50
        assert (after[changed] == CSF).all()
        assert not (before[changed] == VENTRICLES).any()


def test_muscle_is_made_of_soft_tissue_that_is_not_right_below_the_skin():
    stored = np.full((40, 40, 12), FAT)
    stored[:2] = SKIN  # and fat of 38 mm below it
    person = of_map(stored)
    shares = []
    for seed in range(6):
        made = draw_head(person, (40, 40, 12), 1.0, STILL, generator(seed), centred=True).structures
        made = made if made[0, 0, 0] == SKIN else made.flip(0)
        assert (made[:2] == SKIN).all()
        assert (made[2:4] == FAT).all()  # 2 mm
        assert torch.isin(made[4:], torch.tensor([FAT, MUSCLE])).all()
        shares.append(float((made[4:] == MUSCLE).float().mean()))
    assert 0.2 < np.mean(shares) < 0.8


# ---- brain mask


def ball(radius, n=41):
    at = torch.arange(n) - n // 2
    distance = (at[:, None, None] ** 2 + at[:, None] ** 2 + at**2).float().sqrt()
    structures = torch.zeros((n, n, n), dtype=torch.uint8)
    structures[distance < radius + 5] = CSF
    structures[distance < radius] = WHITE
    return structures, distance


def test_the_brain_mask_holds_the_parenchyma_but_for_its_rim():
    structures, distance = ball(11)
    sizes = []
    for seed in range(20):
        mask = brain_mask(structures, 1.0, Draw(generator(seed)))
        assert mask[distance < 7].all()  # at most 9 mm / 2 below the surface
        assert not mask[distance > 11 + 5].any()
        assert not mask[structures == 0].any()
        sizes.append(int(mask.sum()) / int((distance < 11).sum()))
    assert max(sizes) > 1.1  # some CSF
    assert sum(mask_size >= 1 for mask_size in sizes) > 10  # most leave the cortex whole


def test_a_sulcus_is_closed_and_an_eye_is_not_brain():
    structures, distance = ball(12)
    structures[20, 20:, :] = torch.where(distance[20, 20:, :] < 17, CSF, 0).to(torch.uint8)
    eye = torch.zeros_like(structures, dtype=torch.bool)
    eye[30:34, 18:24, 18:24] = True
    structures[eye] = index_of("eye")
    for seed in range(10):
        mask = brain_mask(structures, 1.0, Draw(generator(seed)))
        assert mask[20, 20:27, 20].all()
        assert not mask[eye].any()


@pytest.mark.parametrize("shape", [(24, 24, 24), (24, 24, 1), (24, 1, 24), (9, 24, 24)])
def test_a_box_inside_the_brain_is_all_brain(shape):
    """A box or a slice is part of a larger head: beyond its faces there is no air."""
    inside = torch.full(shape, WHITE, dtype=torch.uint8)
    for seed in range(10):
        assert brain_mask(inside, 1.0, Draw(generator(seed))).all()
    assert not brain_mask(torch.zeros(shape, dtype=torch.uint8), 1.0, Draw(generator(0))).any()


# ---- random numbers


def test_draws_lie_in_their_ranges():
    draw = Draw(generator(0))
    values = [draw.uniform(-2, 3) for _ in range(300)]
    assert -2 <= min(values) < -1.9
    assert 2.9 < max(values) < 3
    assert {draw.below(3) for _ in range(50)} == {0, 1, 2}
    assert not any(draw.happens(0) for _ in range(50))
    assert all(draw.happens(1) for _ in range(50))


def test_a_field_is_smooth_with_zero_mean():
    field = Draw(generator(0)).field((60, 60, 60), 10)
    assert field.shape == (60, 60, 60)
    assert abs(float(field.mean())) < 0.15
    assert 0.4 < float(field.std()) < 1
    assert float(field.diff(dim=0).abs().mean()) < 0.15
