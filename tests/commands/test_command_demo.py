"""The demonstration, with the shipped models, on a coarse brain."""

import json

from chiasm import models


def test_the_demo_scores_and_shows(chiasm, tmp_path):
    out = tmp_path / "demo"
    result = chiasm("demo", "-o", out, "--spacing", 4, "--seed", 11)
    assert result.code == 0, result.err
    content = json.loads((out / "scores.json").read_text())
    assert content["model"] in models.shipped()
    lines = {(line["source"], line["method"]): line for line in content["scores"]}
    ceiling = lines["", "real T1w"]["dice"]
    for source in ("PDw", "T2w"):
        none = lines[source, "none"]["dice"]
        translated = lines[source, "regression"]
        # A clean T2 may be segmented better than a noisy T1 of the same brain.
        assert none < min(ceiling, translated["dice"])
        gap = (translated["dice"] - none) / (ceiling - none)
        assert abs(translated["gap_closed"] - gap) < 1e-9
        assert (out / "translated" / f"sub-01_desc-from{source}_dseg.nii.gz").is_file()
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 12
    assert "regression" in result.out

    again = chiasm("demo", "-o", out, "--spacing", 4)
    assert again.code == 1
    again.assert_said("scores.json", "--overwrite")


def test_shipped_models_are_small_whole_and_have_cards():
    names = models.shipped()
    assert {"brain-t1", "brain-t1-tissue"} <= set(names)
    for name in names:
        folder = models.SHIPPED / name
        assert (folder / models.WEIGHTS).stat().st_size <= 20 * 2**20
        card = (folder / models.CARD).read_text()
        for part in ("## Data", "## Licence", "## Scores", "## Limits", "| target | T1w"):
            assert part in card
        assert models.load(name, kind=models.peek(name)["kind"]).module is not None
