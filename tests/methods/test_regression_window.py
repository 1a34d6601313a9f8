"""Translation in overlapping boxes, against the network on the whole volume."""

import pytest
import torch

from chiasm.errors import UsageError
from chiasm.methods.regression.objective import RegressionObjective
from chiasm.methods.regression.translator import in_windows
from chiasm.training.settings import training_settings

WINDOW = [8, 8, 8]


def pointwise(x):
    return torch.cat([x**2 + 0.1, 1 - x], dim=1)


@pytest.mark.parametrize("shape", [(20, 17, 8), (8, 8, 8), (9, 30, 11), (5, 6, 20)])
def test_a_pointwise_network_gives_the_same_in_boxes_of_any_volume(shape):
    source = torch.rand((1, 1, *shape))
    made = in_windows(source, WINDOW, pointwise)
    assert made.shape == (1, 2, *shape)
    torch.testing.assert_close(made, pointwise(source), atol=1e-5, rtol=0)


def test_slices_too():
    source = torch.rand((3, 1, 20, 30))
    torch.testing.assert_close(in_windows(source, [16, 8], pointwise), pointwise(source))


def test_the_network_sees_boxes_which_cover_the_volume_and_overlap():
    sizes, seen = set(), torch.zeros((1, 1, 20, 20, 20))

    def count(x):
        sizes.add(tuple(x.shape))
        for value in x.flatten().long():
            seen.view(-1)[value] += 1
        return x

    source = torch.arange(20.0**3).view(1, 1, 20, 20, 20)
    in_windows(source, WINDOW, count)
    assert sizes == {(1, 1, 8, 8, 8)}
    assert seen.min() >= 1
    assert seen.max() >= 8


def test_a_box_counts_most_in_its_middle():
    """Boxes of alternating value: what lies in one box alone has its value, and no jump follows."""
    values = iter(range(100))
    made = in_windows(torch.zeros((1, 1, 32)), [16], lambda x: torch.full_like(x, next(values)))
    line = made[0, 0]
    assert float(line[0]) == 0
    assert (line.diff() >= -1e-5).all()
    assert float(line.diff().max()) < 0.5


@pytest.mark.parametrize("window", ["[16,16]", "[16,16,16,16]"])
def test_a_window_has_the_dimensions_of_the_context(window):
    with pytest.raises(UsageError, match=r"window .*the context 3d needs 3; legal: 3 numbers"):
        training_settings(
            "regression",
            "T1w",
            None,
            ("context.kind=3d", "grid.spacing=[2,2,2]", f"window={window}"),
        )


def test_a_window_fits_the_network():
    words = ("context.kind=3d", "grid.spacing=[2,2,2]", "window=[16,16,24]")
    settings = training_settings("regression", "T1w", None, words)
    network = torch.nn.Identity()
    network.divisible_by = 16
    with pytest.raises(UsageError, match=r"window \[16, 16, 24\]: does not fit the network"):
        RegressionObjective(settings, network)
    RegressionObjective(settings.model_copy(update={"window": [16, 16, 32]}), network)
