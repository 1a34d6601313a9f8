"""Every script runs from its first line to its results file, on the smallest problem it takes."""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
from PIL import Image

import harness
from chiasm import models
from chiasm.phantom import Settings, subject
from chiasm.phantom.dataset import write_dataset

FOLDER = Path(harness.__file__).parent
BRAIN = ["--subjects", "1", "--slices", "2", "--spacing", "4", "--sources", "PD"]
# Modules that others import, which are no scripts, and scripts of other environments.
NO_SCRIPTS = {
    "brain_mask", "foreign_cases", "foreign_networks", "harness", "lmi_maps", "measures",
    "nnunet_model", "rigid",
}  # fmt: skip


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(harness, "RESULTS", folder)
    before = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()}
    yield folder
    after = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()}
    assert after == before  # the figures that the documentation shows


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Two digital subjects of all modalities with coarse voxels."""
    folder = tmp_path_factory.mktemp("brains")
    write_dataset(folder, subjects=2, seed=1, settings=Settings(spacing=6))
    return folder


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The shipped diffusion model with one step by default."""
    folder = tmp_path_factory.mktemp("models") / "quick"
    shutil.copytree(models.SHIPPED / harness.DIFFUSION, folder)
    config = json.loads((folder / models.CONFIG).read_text(encoding="utf-8"))
    config["settings"]["diffusion"]["steps"] = 1
    (folder / models.CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


def run(monkeypatch, script, *words):
    """What the script saved under its own name."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, words)])
    import_module(script).main()
    return saved(script)


def saved(name):
    return json.loads((harness.RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def methods(result):
    return list(dict.fromkeys(row["method"] for row in result["rows"]))


def test_every_script_is_run_here():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - NO_SCRIPTS
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in scripts if f'"{name}"' not in here} == set()


@pytest.mark.long
def test_phantom_then_ship(monkeypatch, tmp_path, results, quick):
    words = ["--model", "once=brain-t1@iterations=1", "--diffusion", quick]
    result = run(monkeypatch, "phantom", *BRAIN, *words)
    edits = [f"sdedit {level}" for level in (0.25, 0.5, 0.75)]
    names = ["none", "histogram", "regression", *edits, "lmi-diffusion corrected", "once"]
    assert methods(result) == [*names, "real T1w"]
    by_method = {row["method"]: row for row in result["rows"]}
    assert by_method["regression"]["dice"] > by_method["none"]["dice"]

    # The shipped model again, and one that is better than it by what is written in its config.
    ship = import_module("ship")
    shipped, path = tmp_path / "weights", models.SHIPPED / "brain-t1"
    (shipped / "brain-t1").mkdir(parents=True)
    for part in path.iterdir():
        (shipped / "brain-t1" / part.name).write_bytes(part.read_bytes())
    monkeypatch.setattr(models, "SHIPPED", shipped)
    score = next(one for one in result["summary"] if one["method"] == "regression")["dice"]["mean"]
    words = ["ship", "brain-t1", str(path), "--method", "regression"]
    monkeypatch.setattr(sys, "argv", words)
    config = shipped / "brain-t1" / models.CONFIG
    for before, code in ((1.0, 1), (0.0, 0)):
        told = json.loads(config.read_text(encoding="utf-8"))
        told["training"]["score"] = before
        config.write_text(json.dumps(told), encoding="utf-8")
        assert ship.main() == code
    assert json.loads(config.read_text())["training"]["score"] == round(score, 4)

    # Its card anew, with its rows of a comparison that it took part in.
    model = models.load("brain-t1", kind="translator").fingerprint
    own = {"method": "regression", "model": model}
    compared = {"regression": own, "other": own | {"detail": False}, "none": {"method": "none"}}
    lines = [{"pair": "PDw→T1w", "method": name, "dice": 0.111 * n} for n, name in enumerate(
        ("none", "regression", "other"), start=1
    )]  # fmt: skip
    harness.save("fidelity", {"slices": 6, "segmenter": {}, "methods": compared}, lines, [])
    monkeypatch.setattr(sys, "argv", ["ship", "brain-t1", "--method", "regression"])
    assert ship.main() == 0
    card = (shipped / "brain-t1" / models.CARD).read_text(encoding="utf-8")
    assert "| PDw→T1w | 0.222 |" in card
    assert "0.111" not in card
    assert "0.333" not in card


@pytest.mark.long
def test_planes(monkeypatch, results):
    result = run(monkeypatch, "planes", *BRAIN, "--slices", "24")
    assert methods(result) == ["none", "axial", "coronal", "sagittal", "orthogonal", "real T1w"]
    jumps = {row["method"]: row["slice_jump"] for row in result["rows"]}
    assert jumps["orthogonal"] < jumps["axial"]


def test_steps(monkeypatch, results):
    words = ["--steps", "1,2", "--schedulers", "ddim,unipc"]
    result = run(monkeypatch, "steps", *BRAIN, *words)
    assert methods(result) == ["none", "ddim 1", "ddim 2", "unipc 1", "unipc 2", "real T1w"]


@pytest.mark.long
def test_uncertainty(monkeypatch, results, tmp_path, quick):
    data = real_scans(tmp_path / "data")
    words = ["--sampled", "1", "--samples", "2", "--data", data, "--diffusion", quick]
    result = run(monkeypatch, "uncertainty", *BRAIN[:6], *words)
    rows = result["rows"]
    assert {row["pair"] for row in rows["lesions"]} >= {"PDw→T1w", "T2w→T1w", "FLAIR→T1w"}
    names = {"regression", "regression, expected error", "lmi-diffusion"}
    assert {row["method"] for row in rows["uncertainty"]} == names
    assert any("itk slice" in row["pair"] for row in rows["translatability"])
    drawn = [row for row in rows["uncertainty"] if "expected" not in row["method"]]
    assert all(row["diversity"] > 0 for row in drawn)
    again = run(monkeypatch, "uncertainty", *BRAIN[:6], *words, "--methods", "regression", "--keep")
    for table in ("uncertainty", "lesions"):
        both = [
            sorted(
                (one for one in each["rows"][table] if one["method"] == "lmi-diffusion"), key=str
            )
            for each in (result, again)
        ]
        assert both[0] == both[1] != []


def real_scans(folder):
    """A digital subject under the names of three of the data sets that real.py knows."""
    brain = subject(4, Settings(spacing=3, lesions=True))
    slices = folder / "itk_slices"
    slices.mkdir(parents=True)
    for name, modality in (("BrainT1Slice", "T1w"), ("BrainProtonDensitySlice", "PDw")):
        volume = brain.volumes[modality].array
        plane = volume[:, :, volume.shape[2] // 2]
        grey = (255 * plane / plane.max()).astype(np.uint8)
        Image.fromarray(grey).save(slices / f"{name}.png")
    patient = folder / "open_ms" / "mni_1mm" / "patient07"
    glioma = folder / "brats_gli" / "sub-01"
    for place in (patient, glioma):
        place.mkdir(parents=True)
    for modality in ("T1w", "T2w", "FLAIR"):
        volume = brain.volumes[modality]
        image = nib.Nifti1Image(volume.array, volume.affine)
        nib.save(image, patient / f"{modality.removesuffix('w')}.nii.gz")
        nib.save(image, glioma / f"sub-01_{modality}.nii.gz")
    lesions = (brain.labels.array == 4).astype(np.uint8)
    nib.save(nib.Nifti1Image(lesions, brain.labels.affine), patient / "lesions.nii.gz")
    return folder


@pytest.mark.long
def test_real(monkeypatch, results, tmp_path, quick, capsys):
    data = real_scans(tmp_path / "data")
    words = ["--data", data, "--slices", "2", "--pictures", tmp_path / "pictures"]
    words += ["--diffusion", quick]
    result = run(monkeypatch, "real", *words)
    sets = {row["set"] for row in result["rows"]}
    assert sets == {"open_ms patient07", "itk slice", "brats_gli"}
    said = capsys.readouterr().out
    assert all(f"left out, not there: {data / name}" in said for name in ("spm12_templates",))
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 5
    dice = {(row["pair"], row["method"]): row["dice"] for row in result["rows"]}
    assert dice["T2w→T1w", "regression"] > dice["T2w→T1w", "none"]


@pytest.mark.long
def test_foreign_and_its_second_run(monkeypatch, results, tmp_path, capsys):
    networks = import_module("foreign_networks")
    monkeypatch.setattr(networks, "FIELD", 64)
    data, runs = real_scans(tmp_path / "data"), tmp_path / "runs"
    tiny.foreign_models(data / "foreign_models")
    words = ["--data", data, "--runs", runs, "--networks", "model20chan3cls"]
    quick = ["--slices", "4", "--save", "foreign"]
    words += ["--cases", "patient07 T2w", "--translators", "plain=brain-t1@detail=false"]
    result = run(monkeypatch, "foreign", *words, *quick)
    rows = result["rows"]
    assert methods(result) == [
        "source as it is",
        "robust_tissue",
        "robust_tissue of the real T1",
        "brain-t1-tissue of the real T1",
        "plain",
    ]
    assert {(row["set"], row["source"], row["measure"]) for row in rows} == {
        ("open_ms mni", "T2w", "agreement")
    }
    assert all(0 <= row["dice"] <= 1 for row in rows)
    assert any("− robust_tissue" in line["method"] for line in result["summary"])
    said = capsys.readouterr().out
    assert f"left out, not there: {data / 'expert_labels'}" in said

    # What is done is not done again; another case is added.
    again = run(monkeypatch, "foreign", *words, *quick)
    assert again["rows"] == rows
    assert "patient07 T2w brain: agreement" not in capsys.readouterr().out
    words[words.index("patient07 T2w")] = "patient07"
    more = run(monkeypatch, "foreign", *words, *quick)["rows"]
    assert more[: len(rows)] == rows
    assert {row["source"] for row in more} == {"T2w", "FLAIR"}
    with pytest.raises(SystemExit):  # whole volumes are no rows of the same table
        run(monkeypatch, "foreign", *words, "--save", "foreign")


def test_samseg_with_another_program(monkeypatch, results, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "samseg"
    tiny.foreign_models(data / "foreign_models")
    visit = data / "open_ms" / "native" / "patient04_session1"
    visit.mkdir(parents=True)
    scan = tiny.scan((40, 90, 150), "T2w")
    for name in ("T1", "T2", "FLAIR"):
        nib.save(nib.Nifti1Image(scan.array, scan.affine), visit / f"{name}.nii.gz")
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, nibabel as nib, numpy as np\n"
        "scan = nib.load(sys.argv[2])\n"
        "labels = np.where(np.asarray(scan.dataobj) > 100, 41, 24).astype(np.int16)\n"
        "nib.save(nib.Nifti1Image(labels, scan.affine), sys.argv[4] + '/seg.nii.gz')\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    words = ["samseg", "--data", data, "--program", program, "--output", out, "--cases", "T2w"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    import_module("samseg").main()
    assert "patient04 session1 T2w whole head: " in capsys.readouterr().out
    name = "open_ms_native_patient04_session1_T2w_whole_head.nii.gz"
    made = np.asarray(nib.load(out / name).dataobj)
    np.testing.assert_array_equal(made, np.where(scan.array > 100, 3, 1))
    assert {path.name for path in out.glob("*.nii.gz")} == {name, f"structures_{name}"}
    # What is there is not segmented again.
    import_module("samseg").main()
    assert "T2w" not in capsys.readouterr().out


def test_people_of_a_part(monkeypatch, results, tmp_path, capsys):
    table = "participant_id\tanatomy\n" + "".join(f"sub-{k:02d}\tmap_{k}.mgz\n" for k in range(3))
    (tmp_path / "participants.tsv").write_text(table, encoding="utf-8")
    words = ["people", "--data", tmp_path, "--part", "validation"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    import_module("people").main()
    assert capsys.readouterr().out == "['sub-02']\n"


@pytest.mark.long
def test_contexts(monkeypatch, results, tmp_path, capsys):
    networks = import_module("foreign_networks")
    monkeypatch.setattr(networks, "FIELD", 64)
    data, heads = real_scans(tmp_path / "data"), tiny.label_maps(tmp_path / "heads")
    tiny.foreign_models(data / "foreign_models")
    words = ["--anatomies", heads, "--data", data, "--runs", tmp_path / "runs", "--slices", "4"]
    words += ["--trial", "1", "--minutes", "0", "--cases", "patient07 T2w brain"]
    few = "network.arguments.features=[4, 4, 4, 4, 4, 4]"
    words += ["--contexts", "2d,3d", few, "batch=1", "precision=32-true"]
    result = run(monkeypatch, "contexts", *words)
    assert {"2d", "3d"} < set(methods(result))
    assert "2.5d" not in methods(result)
    said = capsys.readouterr().out
    assert "2d: 1 iterations" in said
    assert "3d: 1 iterations" in said
    with pytest.raises(SystemExit, match="--contexts 4d: is not known; legal: 2d"):
        run(monkeypatch, "contexts", *words[:-5], "--contexts", "4d")


@pytest.mark.long
def test_ablation_and_its_second_run(monkeypatch, results, brains, tmp_path, capsys):
    words = ["--data", brains, "--runs", tmp_path / "runs", "--iterations", "1", *BRAIN]
    result = run(monkeypatch, "ablation", *words, "--rows", "detail transfer")
    own = ["regression: detail transfer none", "regression: detail transfer yes"]
    assert methods(result) == ["none", "real T1w", *own]
    assert len(list((tmp_path / "runs").iterdir())) == 1  # both rows share one training
    capsys.readouterr()
    assert (
        run(monkeypatch, "ablation", *words, "--rows", "detail transfer")["rows"]
        == (result["rows"])
    )
    assert "training" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(monkeypatch, "ablation", *words, "--rows", "detail transfer", "--seed", "2")


@pytest.mark.long
def test_fidelity(monkeypatch, results, brains, tmp_path):
    words = ["--slices", "2", "--sources", "PD", "--methods", "histogram,regression"]
    result = run(monkeypatch, "fidelity", "--data", brains, "--runs", tmp_path / "runs", *words)
    assert methods(result) == ["none", "histogram", "regression", "real T1w"]
    plain = {"method": "regression", "model": models.load(
        "brain-t1", kind="translator").fingerprint}  # fmt: skip
    assert result["settings"]["methods"]["regression"] == plain | {"samples": 1}


@pytest.mark.long
def test_aldm(monkeypatch, results, brains):
    given = {
        "aldm": "brain-any@steps=1",
        "in 3D": "brain-any@steps=1@strength=0.3",
        "by slices": "brain-any@steps=1@strength=0.3@slices=true",
        "estimate": "brain-any@start=estimate",
        "through the codes": "brain-any@start=estimate@quantise=true",
        "regression": "brain-t1",
    }
    words = [word for name, one in given.items() for word in ("--model", f"{name}={one}")]
    result = run(
        monkeypatch, "aldm", "--data", brains, "--subjects", "1", "--pairs", "PD>T1", *words
    )
    assert methods(result) == list(given)
    psnr = {row["method"]: row["psnr"] for row in result["rows"]}
    assert len({*psnr.values()}) == len(psnr)  # no option goes unnoticed
    assert {"dice", "gap_closed"} <= {*result["rows"][0]}
    assert (results / "aldm.png").is_file()
    with pytest.raises(SystemExit, match="neither codes nor loss guidance"):
        run(monkeypatch, "aldm", "--data", brains, "--model", "x=brain-t1@slices=true")


@pytest.mark.long
def test_aldm_cost(monkeypatch, results):
    words = ["--size", "32,32,30", "--steps", "1", "--device", "cpu"]
    rows = run(monkeypatch, "aldm_cost", *words)["rows"]
    assert [row["method"] for row in rows] == [
        "brain-any",
        "brain-any's widths",
        "the paper's widths",
    ]
    assert rows[0]["parameters"] == rows[1]["parameters"] < rows[2]["parameters"]
    assert all(row["predicted_mb"] > 0 for row in rows)
    assert "diffusion_pass_s" in rows[1]
    assert run(monkeypatch, "aldm_cost", *words)["rows"] == rows


@pytest.mark.long
def test_aldm_losses(monkeypatch, results, brains, tmp_path):
    words = ["--data", brains, "--unseen", brains, "--runs", tmp_path, "--subjects", "1"]
    words += ["--iterations", "1", "--rows", "none,cycle", "--modalities", "T1,T2"]
    small = ["latent.autoencoder.channels=[8]", "latent.autoencoder.codes=16", "precision=32-true"]
    result = run(monkeypatch, "aldm_losses", *words, *small)
    assert methods(result) == ["all five", "without cycle"]
    assert {row["images"] for row in result["rows"]} == {
        f"{a}→{b}" for a in ("T1w", "T2w") for b in ("T1w", "T2w")
    }


def test_lmi_gradient(monkeypatch, results):
    rows = run(monkeypatch, "lmi_gradient", "--largest", "64", "--deepest", "16")["summary"]
    assert [row["pair"] for row in rows] == ["64×64", "16×16×16"]
    assert all(row["difference"] < 1e-3 for row in rows)


@pytest.mark.long
def test_lmi(results):
    # It starts processes, which would import this test as their main module.
    code = "import pathlib, sys, harness; harness.RESULTS = pathlib.Path(sys.argv.pop(1)); "
    code += "import lmi; lmi.main()"
    words = ["--largest", "64", "--deepest", "32", "--threads", "1"]
    command = [sys.executable, "-c", code, str(results), *words]
    subprocess.run(command, check=True, cwd=FOLDER, timeout=300)
    rows = saved("lmi")["summary"]["speed"]
    assert [row["shape"] for row in rows if row["series"] in ("2D", "3D")] == ["64×64", "32×32×32"]
    assert all(row["difference"] < 1e-3 for row in rows if "difference" in row)


def test_lmi_maps_are_kept_beside_the_speed(monkeypatch):
    harness.save("lmi", {"largest": 64}, {"speed": [{"pair": "2D"}]}, [])
    words = ["--only", "maps", "--subjects", "1"]
    monkeypatch.setattr("lmi_maps.SPACING", 6.0)
    result = run(monkeypatch, "lmi", *words)
    assert result["settings"] == {"largest": 64, "maps": {"subjects": 1}}
    assert result["summary"]["speed"] == [{"pair": "2D"}]
    rows = result["summary"]["maps"]
    names = [f"digital brains, {name}→T1w" for name in ("PDw", "T2w", "FLAIR") for _ in range(2)]
    assert [row["pair"] for row in rows] == names
    for row in rows:
        assert 0 < row["agreement"] < row["target_map"] < 1
        assert abs(row["source_map"] - row["target_map"]) <= row["map_difference"]


@pytest.mark.long
@pytest.mark.long
def test_cohort(monkeypatch, results, brains, capsys):
    scan = sorted(brains.rglob("*_T2w.nii.gz"))[0]
    words = ["--data", scan, "--scans", "4"]
    rows = run(monkeypatch, "cohort", *words, "--only", "memory,share")["rows"]
    kept, memory = rows[1], rows[0]
    assert memory["measure"] == "memory"
    assert memory["late_mb"] == pytest.approx(memory["early_mb"] * (1 + memory["growth"]))
    assert kept["measure"] == "share"
    assert 0 < kept["network_seconds"] < kept["seconds"]
    assert kept["own_share"] == pytest.approx(1 - kept["network_seconds"] / kept["seconds"])
    pytest.importorskip("ray")
    again = run(monkeypatch, "cohort", *words, "--only", "workers")["rows"]
    assert again[:2] == rows
    assert again[2]["linear"] == pytest.approx(again[2]["per_hour_2"] / again[2]["per_hour_1"] / 2)
    with pytest.raises(SystemExit):
        run(monkeypatch, "cohort", *words, "--only", "speed")
    assert "legal: memory,share,workers" in capsys.readouterr().err


@pytest.mark.long
def test_adapters(monkeypatch, results, brains, tmp_path, capsys):
    scan = sorted(brains.rglob("*_T1w.nii.gz"))[0]
    words = ["--data", tmp_path, "--scan", scan]
    rows = run(monkeypatch, "adapters", *words, "--only", "model,bundle")["rows"]
    assert [row["exit_code"] for row in rows] == [0, 0]
    assert all(row["on_the_grid"] == "yes" for row in rows)
    # The bundle prepares a scan as Chiasm does.
    assert min(rows[1][f"dice_{one}"] for one in ("csf", "grey", "white")) > 0.99
    rows = run(monkeypatch, "adapters", *words, "--only", "fails,hangs,writes-nothing")["rows"]
    said = {row["method"]: row for row in rows[2:]}
    for row, words_of in zip(
        said.values(), ("no licence found", "6 s", "wrote no label map"), strict=True
    ):
        assert (row["exit_code"], row["lines"], row["files"]) == (1, 1, 0)
        assert words_of in row["line"]
    with pytest.raises(SystemExit):
        run(monkeypatch, "adapters", *words, "--only", "vhs")
    assert "legal: model,bundle," in capsys.readouterr().err


def test_gpu_on_a_cpu(monkeypatch, tmp_path):
    gpu = import_module("gpu")
    assert [row[0] for row in gpu.PLAN] == [
        "brain-t1",
        "brain-t1-tissue",
        "brain-t1-lmi",
        "brain-any",
    ]
    # The segmenter begins with the translator, which is trained before it.
    shutil.copytree(models.SHIPPED / "brain-t1", tmp_path / "brain-t1")
    heads = tiny.label_maps(tmp_path / "heads")
    monkeypatch.setattr(gpu, "PLAN", (("brain-t1-tissue", "segmenter", gpu.T1, 2, 1.0),))
    monkeypatch.setattr(gpu, "SHAPES", ((1, 1, 16, 16),))
    monkeypatch.setattr(gpu, "LEAST", -np.inf)
    words = ["--output", tmp_path, "--subjects", 2, "--spacing", 8, "--trial", 1]
    words += ["--device", "cpu", "--minutes", 0, "--anatomies", heads]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, words)])
    assert gpu.main() == 0
    facts = json.loads((tmp_path / "gpu.json").read_text())
    assert facts["lmi"][0]["difference"] == 0
    config = models.load(tmp_path / "brain-t1-tissue", kind="segmenter").config
    # No time is left, so that the training is twice as long as the trial.
    assert config.training["settings"]["iterations"] == 2
    assert config.training["settings"]["merge_labels"] == {"4": 3}
    assert config.training["pretrained"] == "131 of 134 tensors of brain-t1"


def test_gpu_without_one(monkeypatch, tmp_path, capsys):
    gpu = import_module("gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "out")])
    assert gpu.main() == 2
    assert capsys.readouterr().err == "gpu: there is no CUDA device here\n"
    assert not (tmp_path / "out").exists()
