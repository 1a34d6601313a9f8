"""The demonstration, with the shipped models, on a coarse brain."""

import json

import pytest

from chiasm import models


@pytest.mark.long
def test_the_demo_scores_and_shows(chiasm, tmp_path):
    out = tmp_path / "demo"
    result = chiasm("demo", "-o", out, "--spacing", 4, "--seed", 11)
    assert result.code == 0, result.err
    content = json.loads((out / "scores.json").read_text())
    assert content["models"]["regression"].split()[0] in models.shipped()
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
    assert next(iter(content["models"])) == "none"
    for source, method in ((s, m) for s in ("PDw", "T2w") for m in content["models"]):
        assert 0 < lines[source, method]["dice"] < 1
    # Of each source and network: the source, the target, the translation and what is made of them.
    networks = [name for name in content["models"] if name not in ("none", "histogram")]
    assert page.count("data:image/png") == 2 * len(networks) * 6
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
        config = models.peek(name)
        made = [one.removesuffix("w") for one in (config.get("targets") or [config["target"]])]
        for part in ("## Data", "## Licence", "## Scores", "## Limits", *made):
            assert part in card
        assert models.load(name, kind=models.peek(name)["kind"]).module is not None
