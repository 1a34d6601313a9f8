"""The grid against world coordinates, analytic images and its own inverse."""

import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from chiasm.errors import CaseError
from chiasm.image.grid import Grid, Lattice


def matrix(linear, offset=(-31.5, 20.25, 7)):
    return nib.affines.from_matvec(np.asarray(linear, dtype=float), offset)


TILT = Rotation.from_euler("xyz", [20, -35, 12], degrees=True).as_matrix()
SHEAR = np.array([[1, 0.3, -0.1], [0, 1, 0.2], [0, 0, 1]])

# name: shape, affine
SCANS = {
    "plain": ((40, 36, 30), matrix(np.eye(3))),
    "flipped": ((40, 36, 30), matrix(np.diag([-1, -1, 1]))),
    "left-handed": ((40, 36, 30), matrix(np.diag([-1, 1, 1]))),
    "permuted": ((30, 40, 36), matrix([[0, 1.2, 0], [0, 0, -0.9], [1.1, 0, 0]])),
    "oblique": ((40, 36, 30), matrix(TILT)),
    "oblique, flipped, anisotropic": ((60, 50, 24), matrix(TILT @ np.diag([-0.7, 0.7, 4]))),
    "sheared": ((40, 36, 30), matrix(TILT @ SHEAR @ np.diag([1, 1.3, 2]))),
    "one axial slice": ((40, 36, 1), matrix(np.diag([-0.8, -0.8, 5]))),
    "one coronal slice": ((40, 1, 36), matrix(np.diag([0.8, 5, 0.8]))),
    "one sagittal slice": ((1, 40, 36), matrix(TILT @ np.diag([5, 0.8, 0.8]))),
    "one slice, stored first": ((1, 40, 36), matrix([[0, 0.8, 0], [0, 0, -0.8], [5, 0, 0]])),
    "tiny": ((16, 17, 3), matrix(np.diag([1, 1, 3.0]))),
    "odd spacing": ((41, 37, 29), matrix(np.diag([0.7187504, 0.7187501, 2.99]))),
}
WISHES = {
    "as it is": {},
    "coarser in plane": {"spacing": (2, 2, None), "divisible_by": 8},
    "finer in plane": {"spacing": (0.6, 0.6, None), "divisible_by": 4},
    "3D": {"spacing": (1.4, 1.4, 1.4), "divisible_by": 16, "slice_axis": None},
    "LPS, crosswise": {"spacing": (1.5, 1.1, None), "orientation": "PLS", "divisible_by": 4},
}


def world(lattice):
    """Millimetres of every voxel centre, shape (3, X, Y, Z)."""
    index = np.indices(lattice.shape).reshape(3, -1)
    return nib.affines.apply_affine(lattice.affine, index.T).T.reshape(3, *lattice.shape)


def interior(grid):
    """Network voxels whose low pass and interpolation do not meet the border of the scan."""
    index_map = np.linalg.solve(grid.source.affine, grid.network.affine)
    at = nib.affines.apply_affine(index_map, np.moveaxis(np.indices(grid.network.shape), 0, -1))
    within = np.ones(grid.network.shape, dtype=bool)
    for axis, length in enumerate(grid.source.shape):
        step = np.linalg.norm(index_map[axis, :3])
        kept = abs(step - 1) < 1e-3  # values are taken as they are
        margin = 0 if kept else 3 + 4 * 0.425 * step  # the Gaussian ends at 4 σ
        if length > 1 or kept:
            within &= np.abs(at[..., axis] - (length - 1) / 2) < length / 2 - margin
    return within


def assert_ramps_are_kept(grid):
    """An image that holds its own x (y, z) in mm must hold the network's x (y, z) afterwards."""
    inside = interior(grid)
    single = [axis for axis, n in enumerate(grid.source.shape) if n == 1]
    if not single or np.isclose(grid.source.spacing[single[0]], grid.network_spacing[2]):
        # else a slice is made thinner, and holds one value along its axis
        error = np.abs(grid.apply(world(grid.source)) - world(grid.network))
        assert error[:, inside].max(initial=0) < 1e-3
    return inside


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("scan", SCANS)
def test_every_voxel_lies_where_the_affine_says(scan, wish):
    shape, affine = SCANS[scan]
    grid = Grid.plan(shape, affine, **WISHES[wish])
    inside = assert_ramps_are_kept(grid)
    if scan not in ("tiny", "odd spacing") and wish != "3D":
        assert inside.any()


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("scan", SCANS)
def test_the_network_gets_what_it_asked_for(scan, wish):
    shape, affine = SCANS[scan]
    asked = WISHES[wish]
    grid = Grid.plan(shape, affine, **asked)
    spacing, divisor = asked.get("spacing", (None,) * 3), asked.get("divisible_by", 1)
    axes = range(3) if asked.get("slice_axis", 2) is None else range(2)
    for k in range(3):
        if spacing[k] is not None:
            assert grid.network_spacing[k] == pytest.approx(spacing[k], rel=1e-3)
    assert all(grid.network_shape[k] % divisor == 0 for k in axes)
    # axes keep their lines: only permuted, flipped, and stretched
    cosines = np.abs(
        (grid.source.affine[:3, :3] / grid.source.spacing).T
        @ (grid.network_affine[:3, :3] / grid.network_spacing)
    )
    assert (np.isclose(cosines, 1, atol=1e-6).sum(axis=0) == 1).all()


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("scan", SCANS)
def test_a_smooth_image_comes_back_on_its_own_lattice(scan, wish):
    shape, affine = SCANS[scan]
    grid = Grid.plan(shape, affine, **WISHES[wish])
    index = np.indices(shape)
    image = np.prod(
        [np.cos(math.pi * (i + 0.5) / n) + 2 for i, n in zip(index, shape, strict=True)], axis=0
    ).astype(np.float32)  # with no slope at the borders
    back = grid.invert(grid.apply(image))
    assert back.shape == shape
    assert back.dtype == np.float32
    # a thick or tiny axis has few voxels per period
    tolerance = 0.02 if min(n for n in shape if n > 1) > 20 else 0.1
    np.testing.assert_allclose(back, image, atol=tolerance * np.ptp(image))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "PIL", "ASL"])
@pytest.mark.parametrize("scan", SCANS)
def test_without_resampling_values_are_kept_exactly(scan, orientation):
    shape, affine = SCANS[scan]
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for slice_axis in range(3):
        if scan == "tiny" and orientation[slice_axis] not in "SI":
            continue  # it has 3 slices
        wish = {"orientation": orientation, "slice_axis": slice_axis}
        grid = Grid.plan(shape, affine, **wish)
        assert grid.keeps_voxels
        moved = grid.apply(array)
        assert not np.shares_memory(moved, array)
        assert not np.shares_memory(grid.invert(moved), moved)
        assert sorted(moved.ravel().tolist()) == sorted(array.ravel().tolist())
        np.testing.assert_array_equal(grid.invert(moved), array)
        padded = Grid.plan(shape, affine, divisible_by=32, **wish)
        np.testing.assert_array_equal(padded.invert(padded.apply(array, fill=9)), array)
        if 1 not in shape:
            codes = nib.aff2axcodes(grid.network_affine)
            wanted = [*orientation[:slice_axis], *orientation[slice_axis + 1 :]]
            assert codes == (*wanted, orientation[slice_axis])


@pytest.mark.parametrize(
    ("scan", "through"),
    [("one axial slice", 2), ("one coronal slice", 1), ("one sagittal slice", 0),
     ("one slice, stored first", 0)],
)  # fmt: skip
@pytest.mark.parametrize("slice_axis", [0, 1, 2, None])
def test_the_axis_of_a_single_slice_is_the_slice_axis(scan, through, slice_axis):
    shape, affine = SCANS[scan]
    grid = Grid.plan(shape, affine, spacing=(2, 2, None), slice_axis=slice_axis)
    assert grid.network_shape[2] == 1
    assert grid.network_spacing == pytest.approx((2, 2, 5))
    normal = np.cross(*affine[:3, [k for k in range(3) if k != through]].T)
    assert abs(grid.network_affine[:3, 2] @ normal) > 0.99 * np.linalg.norm(normal) * 5


# --- hypothesis: any affine, any wish -------------------------------------------------------

LENGTHS = st.integers(16, 40)
SPACINGS = st.floats(0.4, 5.0)


@st.composite
def any_scan(draw):
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    linear = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = draw(st.tuples(*[st.floats(-0.3, 0.3)] * 3))
    spacing = np.diag(draw(st.tuples(SPACINGS, SPACINGS, SPACINGS)))
    flips = np.diag(draw(st.tuples(*[st.sampled_from([-1, 1])] * 3)))
    offset = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return draw(st.tuples(LENGTHS, LENGTHS, LENGTHS)), matrix(
        linear @ shear @ spacing @ flips, offset
    )


@settings(max_examples=40, deadline=None)
@given(
    scan=any_scan(),
    spacing=st.tuples(*[st.one_of(st.none(), st.floats(0.6, 4.0))] * 3),
    divisible_by=st.sampled_from([1, 4, 8]),
    slice_axis=st.sampled_from([0, 1, 2, None]),
    orientation=st.sampled_from(["RAS", "LPS", "SLA", "PIR"]),
)
def test_any_affine_and_any_wish(scan, spacing, divisible_by, slice_axis, orientation):
    shape, affine = scan
    grid = Grid.plan(
        shape, affine, spacing=spacing, divisible_by=divisible_by, slice_axis=slice_axis,
        orientation=orientation,
    )  # fmt: skip
    assert Grid.model_validate_json(grid.model_dump_json()) == grid
    assert_ramps_are_kept(grid)
    labels = np.random.default_rng(0).integers(0, 5, shape).astype(np.int16)
    back = grid.invert(grid.apply(labels, labels=True), fill=-1, labels=True)
    assert back.shape == shape
    assert set(np.unique(back)) <= set(range(5))  # the field of view is covered: no fill
    # a constant stays one, through padding, low pass and all
    ones = np.ones(shape, dtype=np.float32)
    np.testing.assert_allclose(grid.apply(ones, fill=1), 1, atol=1e-6)


# --- what the numbers are --------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.5, 2, 3, 4])
def test_the_low_pass_is_the_gaussian_it_says(factor):
    """A wave of frequency f keeps exp(−2 π² σ² f²) of its amplitude, σ² = (s² − 1)/(8 ln 2)."""
    n, period = 240, 40
    wave = np.cos(2 * np.pi * np.arange(n) / period)
    image = np.broadcast_to(wave[:, None, None], (n, 16, 16)).astype(np.float32)
    grid = Grid.plan(image.shape, np.eye(4), spacing=(factor, None, None))
    moved = grid.apply(image)[:, 8, 8]
    x = world(grid.network)[0, :, 8, 8]
    inside = (x > 20) & (x < n - 20)
    sigma = math.sqrt((factor**2 - 1) / (8 * math.log(2)))
    expected = np.exp(-2 * np.pi**2 * sigma**2 / period**2) * np.cos(2 * np.pi * x / period)
    np.testing.assert_allclose(moved[inside], expected[inside], atol=2e-3)


def test_what_the_coarse_lattice_cannot_hold_is_removed():
    stripes = np.indices((96, 16, 16))[0] % 2 * 2.0 - 1
    grid = Grid.plan(stripes.shape, np.eye(4), spacing=(4, None, None))
    assert np.abs(grid.apply(stripes)[4:-4]).max() < 0.02


@pytest.mark.parametrize("spacing", [0.5, 0.7])
def test_interpolation_of_a_wave_is_third_order(spacing):
    n, period = 60, 20
    image = np.sin(2 * np.pi * np.indices((n, 16, 16))[0] / period).astype(np.float32)
    grid = Grid.plan(image.shape, np.eye(4), spacing=(spacing, None, None))
    x = world(grid.network)[0]
    inside = (x > 2) & (x < n - 3)
    np.testing.assert_allclose(
        grid.apply(image)[inside], np.sin(2 * np.pi * x / period)[inside], atol=3e-3
    )


def test_edges_of_the_field_of_view_are_aligned_where_the_spacing_divides_it():
    grid = Grid.plan((32, 48, 20), np.eye(4), spacing=(2, 2, None))
    assert grid.network_shape == (16, 24, 20)
    np.testing.assert_allclose(grid.network_affine @ [-0.5, -0.5, 0, 1], [-0.5, -0.5, 0, 1])
    np.testing.assert_allclose(grid.network_affine @ [15.5, 23.5, 0, 1], [31.5, 47.5, 0, 1])


def test_steps_do_not_ring_beyond_the_range():
    step = (np.indices((40, 40, 4))[0] > 20).astype(np.float32)
    grid = Grid.plan(step.shape, np.eye(4), spacing=(0.6, 1.7, None))
    for array in (grid.apply(step), grid.invert(grid.apply(step))):
        assert array.min() == 0
        assert array.max() == 1


def test_labels_are_the_nearest():
    shape, affine = SCANS["oblique, flipped, anisotropic"]
    labels = np.random.default_rng(0).integers(0, 9, shape).astype(np.int16)
    grid = Grid.plan(shape, affine, spacing=(1.6, 1.6, None))
    moved = grid.apply(labels, labels=True)
    assert moved.dtype == np.int16
    at = nib.affines.apply_affine(np.linalg.inv(affine), world(grid.network).reshape(3, -1).T)
    clear = np.abs(at - np.floor(at) - 0.5).min(axis=1) > 1e-3  # no tie
    i, j, k = np.round(at[clear]).astype(int).T
    np.testing.assert_array_equal(moved.reshape(-1)[clear], labels[i, j, k])


def test_channels_come_first_and_are_independent():
    shape, affine = SCANS["sheared"]
    grid = Grid.plan(shape, affine, spacing=(2, 2, None), divisible_by=8)
    # equal range, so that the clipping is the same
    one, two = (
        np.random.default_rng(0)
        .permuted(np.linspace(0, 1, math.prod(shape), dtype=np.float32)[None].repeat(2, 0), axis=1)
        .reshape(2, *shape)
    )
    both = grid.apply(np.stack([one, two]))
    np.testing.assert_allclose(both, [grid.apply(one), grid.apply(two)], atol=1e-6)
    back = grid.invert(both)
    assert back.shape == (2, *shape)


@pytest.mark.parametrize(
    ("wish", "keeps"),
    [
        ({"divisible_by": 16}, True),
        ({"size": (16, 20, None)}, True),
        ({"crop": [(0, 19), (2, 20), (0, 30)]}, True),
        ({"spacing": (0.5, 1, None)}, False),
        ({"spacing": (None, None, 2)}, False),
    ],
)
def test_whether_a_lattice_keeps_the_voxels(wish, keeps):
    grid = Grid.plan((20, 21, 40), np.eye(4), **wish)
    assert grid.keeps_voxels == keeps
    index = np.stack(np.meshgrid(*map(np.arange, grid.network_shape), indexing="ij"), axis=-1)
    where = index @ grid.network_affine[:3, :3].T + grid.network_affine[:3, 3]
    assert (where % 1 == 0).all() == keeps


def test_padding_is_filled_and_lies_on_both_sides():
    grid = Grid.plan((20, 21, 4), np.eye(4), divisible_by=16)
    assert grid.network_shape == (32, 32, 4)
    moved = grid.apply(np.zeros((20, 21, 4)), fill=-3)
    rows, columns = (np.flatnonzero((moved[..., 0] == 0).any(axis=k)) for k in (1, 0))
    assert (rows[0], rows[-1]) == (6, 25)
    assert (columns[0], columns[-1]) == (5, 25)
    assert (moved == -3).sum() == 4 * (32 * 32 - 20 * 21)


@pytest.mark.parametrize("spacing", [(None, None, None), (2, 2, None)])
def test_what_is_cropped_away_comes_back_as_the_fill(spacing):
    shape, affine = (60, 50, 10), matrix(np.diag([-1, 1, 3]))
    grid = Grid.plan(shape, affine, spacing=spacing, crop=[(10, 42), (20, 44), (2, 9)])
    image = np.ones(shape, dtype=np.float32)
    moved = grid.apply(image)
    assert (moved == 1).all()
    assert grid.network_shape == ((32, 24, 7) if spacing[0] is None else (16, 12, 7))
    back = grid.invert(moved, fill=-1000)
    expected = np.full(shape, -1000.0)
    expected[10:42, 20:44, 2:9] = 1
    np.testing.assert_array_equal(back, expected)


def test_an_exact_size_crops_and_pads_about_the_centre():
    shape = (60, 30, 11)
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = Grid.plan(shape, np.eye(4), size=(40, 40, None))
    moved = grid.apply(array, fill=7)
    assert grid.network_shape == (40, 40, 11)
    np.testing.assert_array_equal(moved[:, 5:35], array[10:50])
    assert (moved[:, :5] == 7).all()
    back = grid.invert(moved, fill=7)
    np.testing.assert_array_equal(back[10:50], array[10:50])
    assert (back[:10] == 7).all()


@pytest.mark.parametrize("wish", WISHES)
def test_json_records_the_grid_whole(wish):
    shape, affine = SCANS["oblique, flipped, anisotropic"]
    grid = Grid.plan(shape, affine, **WISHES[wish])
    again = Grid.model_validate_json(grid.model_dump_json())
    array = np.random.default_rng(0).normal(size=shape)
    assert again == grid
    np.testing.assert_array_equal(again.apply(array), grid.apply(array))


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "affine", "axis"),
    [
        ((15, 40, 40), np.eye(4), 0),
        ((40, 12, 40), np.eye(4), 1),
        ((40, 40, 9), matrix([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), 2),
        ((1, 1, 40), np.eye(4), 0),
        ((8, 40, 1), np.eye(4), 0),
    ],
)
def test_fewer_than_16_voxels_in_plane_are_refused(shape, affine, axis):
    with pytest.raises(CaseError) as caught:
        Grid.plan(shape, affine, name="-i a.nii.gz")
    message = str(caught.value)
    assert message.startswith("-i a.nii.gz ")
    assert f"has {shape[axis]} voxels along its in-plane axis {axis}" in message
    assert "at least 16" in message


def test_few_voxels_through_plane_are_fine():
    assert Grid.plan((16, 16, 1), np.eye(4)).network_shape == (16, 16, 1)
    assert Grid.plan((16, 16, 2), np.eye(4)).network_shape == (16, 16, 2)


def test_arrays_of_another_lattice_and_lattices_not_parallel_are_refused():
    grid = Grid.plan((20, 20, 4), np.eye(4), divisible_by=8)
    with pytest.raises(ValueError, match="not on a lattice"):
        grid.apply(np.zeros((20, 4, 20)))
    with pytest.raises(ValueError, match="not on a lattice"):
        grid.invert(np.zeros((20, 20, 4)))
    source = Lattice.of((9, 9, 9), np.eye(4))
    with pytest.raises(ValueError, match="not parallel"):
        Grid(source=source, network=Lattice.of((9, 9, 9), matrix(TILT)))
