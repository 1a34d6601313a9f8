"""The page: complete in itself, and its pictures the right way round."""

import re

import numpy as np
import pytest

from chiasm.errors import CaseError
from chiasm.image.volume import TISSUES, LabelVolume, Volume
from chiasm.page import Row, write_page
from chiasm.page.write import slice_picture


def marked(affine):
    """One bright voxel at the patient's right front top corner, in any array orientation."""
    array = np.zeros((6, 7, 5), np.float32)
    signs = np.diag(affine)[:3]
    array[tuple(-1 if sign > 0 else 0 for sign in signs)] = 1
    return Volume(array, affine, modality="T1w")


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)])
def test_right_is_on_the_left_and_front_is_up(signs):
    picture = np.asarray(slice_picture(marked(np.diag([*signs, 1.0])), 4, (0, 1)))
    assert picture.shape[:2] == (7, 6)
    assert np.argwhere(picture == 255).tolist() == [[0, 0]]


def test_spacing_is_drawn_true():
    volume = Volume(np.random.default_rng(0).random((10, 20, 3)), np.diag([2.0, 1, 4, 1]))
    assert slice_picture(volume, 1, (0, 1)).size == (20, 20)


def test_labels_have_their_colours():
    array = np.zeros((4, 4, 1), int)
    array[0, 0, 0] = 3
    picture = np.asarray(slice_picture(LabelVolume(array, np.eye(4)), 0, (0, 1)))
    white = next(label for label in TISSUES if label.value == 3)
    expected = [int(white.colour[k : k + 2], 16) for k in (1, 3, 5)]
    assert picture[-1, -1].tolist() == expected
    assert picture[0, 0].tolist() == [0, 0, 0]


def test_the_page_needs_no_other_file(tmp_path):
    index = np.indices((20, 20, 4)) - np.array([10, 10, 2])[:, None, None, None]
    volume = Volume(np.where((index**2).sum(0) < 60, 100 + index[0], 0), np.eye(4))
    rows = [Row("case <one>", {"source": volume, "error": volume})]
    arguments = {
        "lead": "Lead.",
        "rows": rows,
        "tables": {"Scores": [{"method": "none", "dice": 0.123456}]},
        "settings": {"seed": 7},
    }
    path = write_page(tmp_path / "page.html", "Title", **arguments)
    text = path.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "0.123" in text
    assert "case &lt;one&gt;" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    with pytest.raises(CaseError, match="overwrite"):
        write_page(path, "Title", **arguments)
