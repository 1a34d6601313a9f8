"""`chiasm compare`: the table, its files, going on after an interruption, and what is refused."""

import csv
import html
import json
import re
import shutil

import numpy as np
import pytest
from command_samples import files_below, load, save_nifti
from PIL import Image

import chiasm as package
from chiasm import models
from chiasm.cli import main
from chiasm.image.foreground import foreground_mask
from chiasm.phantom import Settings, write_dataset

OUTPUTS = ("table.csv", "rows.csv", "compare.json", "pictures.png", "report.html")
COSTS = ("seconds", "seconds_per_slice", "memory_mb")
SUBJECTS, METHODS, REAL = ("sub-01", "sub-02", "sub-03"), ("none", "histogram"), "real T1w"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three coarse digital brains with their label maps."""
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder, len(SUBJECTS), 5, Settings(modalities=("T1w", "PDw"), spacing=5.0))
    return folder


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """The shipped segmenter on a coarse grid, in one plane: fast, and better on T1 than on PD."""
    model = models.load("brain-t1-tissue", kind="segmenter")
    grid = model.config.grid.model_copy(update={"spacing": (4.0, 4.0, 4.0)})
    settings = model.config.settings | {"inference_planes": "axial"}
    changed = model.config.model_copy(update={"grid": grid, "settings": settings})
    folder = tmp_path_factory.mktemp("models") / "coarse"
    models.save(folder, changed, model.module, "# on a coarse grid\n")
    return folder


@pytest.fixture(scope="module")
def words(coarse):
    def words(dataset, out, *more):
        start = ("compare", "-i", dataset, "-o", out, "--segmenter", coarse)
        start += ("--methods", ",".join(METHODS), "--slices", 3)
        return [str(one) for one in (*start, *more)]

    return words


@pytest.fixture(scope="module")
def finished(dataset, words, tmp_path_factory):
    """The folder of a finished comparison; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.raises(SystemExit) as stop:
        main(words(dataset, out))
    assert stop.value.code == 0
    return out


def content(out):
    return json.loads((out / "compare.json").read_text())


def lines(out):
    return {line["method"]: line for line in content(out)["summary"]}


def test_the_files_of_a_comparison(finished):
    found = files_below(finished)
    assert set(OUTPUTS) <= set(found)
    assert len([name for name in found if name.startswith("pictures/")]) == 3 * (1 + 3)
    for name in found:
        if not name.endswith(".png"):
            assert str(finished) not in (finished / name).read_text()
    page = (finished / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "://" not in re.sub(r'"data:[^"]*"', "", page).replace("http://www.w3.org", "")
    assert page.count("data:image/png") == 3 * (1 + 3)
    with Image.open(finished / "pictures.png") as grid:
        assert np.ptp(np.asarray(grid)) > 100


def test_the_page_holds_no_code(finished, dataset):
    """Neither names with underscores nor the notation of Python, besides the user's own path."""
    page = (finished / "report.html").read_text().split("</style>")[1]
    text = html.unescape(re.sub(r"<[^>]*>", " ", page)).replace(str(dataset), "")
    assert re.findall(r"\w*_\w*|[{}']|\bNone\b|\bTrue\b|\bFalse\b|VmHWM", text) == []
    assert "3 evenly spaced axial slices" in text


def test_every_method_has_a_row_for_every_subject(finished):
    rows = content(finished)["rows"]
    expected = {(s, m) for s in SUBJECTS for m in (*METHODS, REAL)}
    assert {(row["subject"], row["method"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        assert row["pair"] == "PDw→T1w"
        assert 0 <= row["dice_grey"] <= 1
        structures = [row[key] for key in row if key.startswith("dice_")]
        assert row["dice"] == pytest.approx(np.mean([d for d in structures if d is not None]))
        assert row["slice_jump"] is None  # slices that are no neighbours
        if row["method"] != REAL:
            # The segmenter looks at neighbouring slices, so the complete scan is translated.
            slices = row["seconds"] / row["seconds_per_slice"]
            assert slices == pytest.approx(round(slices))
            assert slices > 3
            assert row["memory_mb"] > 1
            assert row["trained_on"] == "nothing"


def test_the_summary_is_the_mean_and_the_gap_runs_from_0_to_1(finished):
    rows, found = content(finished)["rows"], lines(finished)
    mean = {
        method: np.mean([row["dice"] for row in rows if row["method"] == method])
        for method in (*METHODS, REAL)
    }
    for method, line in found.items():
        assert line["dice"]["mean"] == pytest.approx(mean[method])
        gap = (mean[method] - mean["none"]) / (mean[REAL] - mean["none"])
        assert line["gap_closed"]["mean"] == pytest.approx(gap)
    assert found["none"]["gap_closed"]["mean"] == 0
    assert found[REAL]["gap_closed"]["mean"] == 1
    assert mean[REAL] > mean["none"]
    best = max(METHODS, key=lambda method: mean[method])
    assert [method for method, line in found.items() if line["best"]] == [best]


def test_the_tables_repeat_the_summary(finished):
    with (finished / "table.csv").open() as file:
        table = {line["method"]: line for line in csv.DictReader(file)}
    with (finished / "rows.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9
    for method, line in lines(finished).items():
        low, high = line["dice"]["interval"]
        row = table[method]
        for name, value in (("dice", line["dice"]["mean"]), ("dice_low", low), ("dice_high", high)):
            assert float(row[name]) == value
        assert float(row["gap_closed"]) == line["gap_closed"]["mean"]


def test_scores_are_those_of_the_other_commands(dataset, tmp_path, coarse):
    """Translate, segment and evaluate by hand: all slices of one subject."""
    one = tmp_path / "in"
    shutil.copytree(dataset / "sub-02", one / "sub-02")
    result = package.compare(one, tmp_path / "out", methods=["histogram"], segmenter=coarse)
    row = next(row for row in result["rows"] if row["method"] == "histogram")
    image = package.translate(next(one.rglob("*_PDw.nii.gz")), method="histogram")
    truth = next(one.rglob("*_dseg.nii.gz"))
    scores = package.evaluate(package.segment(image, segmenter=coarse), truth, labels=True).labels
    assert row["dice"] == pytest.approx(scores.dice)
    assert row["hd95"] == pytest.approx(scores.hd95)
    assert row["assd"] == pytest.approx(scores.assd)
    pair = [image, package.read(next(one.rglob("*_T1w.nii.gz")))]
    head = foreground_mask(package.read(next(one.rglob("*_PDw.nii.gz"))))
    ends = [np.percentile(each.array[head], (0.5, 99.5)) for each in pair]
    unit = [(each.array - a) / (b - a) for each, (a, b) in zip(pair, ends, strict=True)]
    error = (unit[0] - unit[1])[head]
    assert row["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    assert row["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), rel=1e-4)
    both = head[:, :, 1:] & head[:, :, :-1]
    jumps = [np.abs(np.diff(each, axis=2))[both].mean() for each in unit]
    assert row["slice_jump"] == pytest.approx(jumps[0] / jumps[1], rel=1e-4)
    within = [
        np.mean([np.abs(np.diff(each, axis=k))[_both(head, k)].mean() for k in (0, 1)])
        for each in unit
    ]
    assert row["sharpness"] == pytest.approx(within[0] / within[1], rel=1e-4)
    assert result["summary"][0]["dice"].get("interval") is None


def _both(mask, axis):
    """Pairs of neighbours along an axis that both lie in the mask."""
    return np.take(mask, range(1, mask.shape[axis]), axis) & np.take(
        mask, range(mask.shape[axis] - 1), axis
    )


def scores_of(out):
    return [
        {key: value for key, value in row.items() if key not in COSTS}
        for row in content(out)["rows"]
    ]


def test_an_interrupted_comparison_goes_on(chiasm, dataset, words, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for name in OUTPUTS:
        (out / name).unlink()
    rows = out / "rows.jsonl"
    kept = rows.read_bytes().splitlines(keepends=True)[:5]
    rows.write_bytes(b"".join(kept) + b'{"pair": "PD')
    result = chiasm(*words(dataset, out))
    assert (result.code, result.err) == (0, "")
    assert rows.read_bytes().splitlines(keepends=True)[:5] == kept
    assert scores_of(out) == scores_of(finished)
    assert (out / "pictures.png").read_bytes() == (finished / "pictures.png").read_bytes()
    assert files_below(out) == files_below(finished)
    before = {name: (out / name).read_bytes() for name in OUTPUTS}
    assert chiasm(*words(dataset, out)).code == 0  # nothing is left to do
    assert {name: (out / name).read_bytes() for name in OUTPUTS} == before


def test_another_comparison_in_the_folder_is_refused(chiasm, dataset, words, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    refused = chiasm(*words(dataset, out)[:-1], 2)
    assert refused.code == 1
    refused.assert_said("-o", out, "other settings (slices)", "--overwrite")
    assert scores_of(out) == scores_of(finished)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "table.csv").write_text("mine")
    refused = chiasm(*words(dataset, strange))
    assert refused.code == 1
    refused.assert_said("table.csv", "--overwrite")
    assert files_below(strange) == ["table.csv"]


def test_without_label_maps_it_is_agreement(
    chiasm, dataset, tmp_path, regression, segmenter, finished
):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(dataset / "sub-01", folder / "sub-01")
    for path in folder.rglob("*_dseg.*"):
        path.unlink()
    own = f"mine={regression},agnostic={segmenter}"
    more = ("--methods", own, "--segmenter", segmenter, "--target", "T1", "--sources", "PD")
    result = chiasm("compare", "-i", folder, "-o", out, "--slices", 2, *more)
    assert (result.code, result.err) == (0, "")
    assert "agreement" in result.out
    assert "agreement with the real T1w" in (out / "report.html").read_text()
    found = lines(out)
    assert list(found) == ["none", "mine", "agnostic", REAL]
    assert found[REAL]["dice"]["mean"] == 1
    assert found[REAL]["hd95"]["mean"] == 0
    assert "psnr" in found["mine"]
    assert "psnr" not in found["agnostic"]  # nothing was translated
    assert "mine" in result.out


def test_a_model_of_some_sources_has_rows_of_these(chiasm, dataset, tmp_path, paired, segmenter):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(dataset / "sub-01", folder / "sub-01")
    pd = next(folder.rglob("*_PDw.nii.gz"))
    shutil.copy(pd, pd.with_name("sub-01_T2w.nii.gz"))
    more = ("--methods", f"pairs={paired}", "--segmenter", segmenter)
    result = chiasm("compare", "-i", folder, "-o", out, *more)
    assert (result.code, content(out)["failed"]) == (0, [])
    made = {(row["pair"], row["method"]) for row in content(out)["rows"]}
    assert made == {
        *(("PDw→T1w", name) for name in ("none", "pairs", REAL)),
        *(("T2w→T1w", name) for name in ("none", REAL)),
    }
    none_known = chiasm("compare", "-i", folder, "-o", out, "--sources", "T2", *more)
    assert none_known.code == 2
    none_known.assert_said("--methods pairs", "T2w", "PDw")


def test_a_subject_that_cannot_be_read_is_named_and_the_others_are_done(
    chiasm, dataset, words, tmp_path
):
    folder, out = tmp_path / "in", tmp_path / "out"
    for subject in SUBJECTS[:2]:
        shutil.copytree(dataset / subject, folder / subject)
    broken = next(folder.rglob("sub-01_PDw.nii.gz"))
    broken.write_bytes(b"no image")
    result = chiasm(*words(folder, out))
    assert result.code == 1
    assert [str(broken) in line for line in result.err.splitlines()] == [True]
    assert {row["subject"] for row in content(out)["rows"]} == {"sub-02"}
    assert len(content(out)["failed"]) == 1


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--methods", "nope"], 2, ["--methods nope", "regression", "histogram"]),
        (["--methods", "none,none"], 2, ["--methods none", "two methods"]),
        (["--methods", "mine=nowhere"], 2, ["nowhere", "config.json"]),
        (["--methods", "=x"], 2, ["--methods =x", "NAME=FOLDER"]),
        (["--methods", "regression@steps=none"], 2, ["--steps"]),
        (["--methods", "regression@bogus=1"], 2, ["--bogus"]),
        (["--methods", "a=SEGMENTER:regression"], 2, ["a=", "segmenter"]),
        (["--methods", "a=SEGMENTER@model=brain-t1"], 2, ["a=", "segmenter"]),
        (["--methods", "lmi-diffusion@steps=0"], 2, ["--steps 0"]),
        (["--target", "T2"], 2, ["--target T2w", "T1w"]),
        (["--sources", "FLAIR"], 1, ["FLAIR"]),
        (["--sources", "nope"], 2, ["--sources nope"]),
        (["--slices", 0], 2, ["--slices 0", "at least 1"]),
        (["--batch", 0], 2, ["--batch 0"]),
        (["--segmenter", "nope"], 2, ["--segmenter nope"]),
    ],
)
def test_refusals(chiasm, dataset, segmenter, out, more, code, said):
    more = [str(one).replace("SEGMENTER", str(segmenter)) for one in more]
    result = chiasm("compare", "-i", dataset, "-o", out, *more)
    assert result.code == code
    result.assert_said(*said)
    assert not out.exists()


def test_a_dataset_without_the_target_is_refused(chiasm, dataset, tmp_path, out):
    folder = tmp_path / "in"
    save_nifti(folder / "sub-01_PDw.nii.gz", load(next(dataset.rglob("*_PDw.nii.gz"))))
    result = chiasm("compare", "-i", folder, "-o", out)
    assert result.code == 1
    result.assert_said("-i", folder, "T1w")
    assert not out.exists()
