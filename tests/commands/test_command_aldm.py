"""ALDM from end to end: stages in one command, resumed; one model, several targets; refusals."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from command_samples import brain, files_below, load, save_nifti
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from safetensors.torch import load_file
from torch import equal

MODALITIES = {"T1w": (70, 120, 180), "T2w": (180, 120, 70), "FLAIR": (30, 170, 120)}
TINY = (
    "network.arguments={channels: [8, 8], num_res_blocks: 1, attention_levels: [false, false], "
    "norm_num_groups: 4}",
    "latent={autoencoder: {channels: [4, 6], codes: 16, latent: 3}, "
    "translator: {features: [5], hidden: 4}}",
    "adversarial.critic={channels: 4, num_layers_d: 1}",
    "grid.spacing=[1, 1, 1]",
    "precision=32-true",
    "batch=2",
    "any_contrast=0.5",
    "diffusion.steps=2",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four subjects with three modalities, each of another size."""
    folder = tmp_path_factory.mktemp("bids")
    for seed in range(4):
        name = f"sub-{seed}"
        for modality, levels in MODALITIES.items():
            image = brain((20 + 2 * seed, 24, 16), seed=seed, levels=levels)
            save_nifti(folder / name / f"{name}_{modality}.nii.gz", image)
    return folder


def command(dataset, out, *words, iterations=3):
    start = ("train", "-i", dataset, "-o", out, "--method", "aldm")
    modalities = ("--modalities", "T1,T2,FLAIR")
    return [*start, *modalities, *TINY, f"iterations={iterations}", *words]


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    from chiasm.cli import main

    out = tmp_path_factory.mktemp("model") / "any"
    with pytest.raises(SystemExit) as stop:
        main([str(one) for one in command(dataset, out, "stages.diffusion.iterations=4")])
    assert stop.value.code == 0
    return out


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_every_stage_trains_its_part_alone(model):
    first, second, last = (weights(model / one) for one in ("autoencoder", "translator", ""))
    parts = {"codec.network": (first, second), "translator": (second, last)}
    for part, (one, other) in parts.items():
        same = {key for key in one if key.startswith(part) and equal(one[key], other[key])}
        assert same == {key for key in one if key.startswith(part)}
    assert not all(equal(first[key], second[key]) for key in first if "translator" in key)
    assert not all(equal(second[key], last[key]) for key in last if key.startswith("network"))
    config = json.loads((model / "config.json").read_text())
    assert list(config["targets"]) == ["T1w", "T2w", "FLAIR"]
    assert "| Targets | T1w, T2w, FLAIR |" in (model / "README.md").read_text()
    assert config["training"]["settings"]["iterations"] == 4
    for name in ("autoencoder", "translator"):
        inner = json.loads((model / name / "config.json").read_text())
        assert inner["training"]["settings"]["iterations"] == 3
    # Who may read the config may read the weights.
    assert (model / "model.safetensors").stat().st_mode == (model / "config.json").stat().st_mode


def test_stages_share_what_they_read(chiasm, dataset, out, monkeypatch):
    from chiasm.methods.aldm.samples import AnyToAnySamples

    sides, original = [], AnyToAnySamples.__init__

    def count(self, subjects, *rest, **named):
        sides.append(len(subjects))
        original(self, subjects, *rest, **named)

    monkeypatch.setattr(AnyToAnySamples, "__init__", count)
    assert chiasm(*command(dataset, out, iterations=1)).code == 0
    assert sides == [3, 1]  # training and validation, once for all three stages
    sides.clear()
    other = "stages.diffusion.grid.spacing=[2, 2, 2]"
    assert chiasm(*command(dataset, out, other, "--overwrite", iterations=1)).code == 1
    assert sides == [3, 1]  # a stage of another lattice is refused


def test_one_scan_to_several_targets(chiasm, model, dataset, out):
    scan = dataset / "sub-0" / "sub-0_T1w.nii.gz"
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model, "--to", "T2,FLAIR")
    assert (result.code, result.err) == (0, "")
    assert files_below(out) == ["sub-0_FLAIR.nii.gz", "sub-0_T2w.nii.gz"]
    made = [load(out / name) for name in files_below(out)]
    assert all(one.shape == load(scan).shape for one in made)
    assert abs(made[0] - made[1]).max() > 0
    for name in files_below(out):
        assert bytes(nib.load(out / name).header["descrip"].item()).startswith(b"synthetic: chiasm")


def test_a_modality_that_it_never_saw(chiasm, model, dataset, tmp_path, out):
    scan = tmp_path / "in" / "sub-0_PDw.nii.gz"
    scan.parent.mkdir()
    shutil.copy(dataset / "sub-0" / "sub-0_T1w.nii.gz", scan)
    words = ("--model", model, "--strength", "0.2", "--report", tmp_path / "how.json")
    assert chiasm("translate", "-i", scan, "-o", out, *words).code == 0
    (case,) = json.loads((tmp_path / "how.json").read_text())["cases"]
    assert (case["target"], case["options"]["strength"]) == ("T1w", 0.2)


def test_the_estimate_alone(chiasm, model, dataset, out):
    """It is what the second stage makes. A seed would change nothing, so it is refused."""
    from chiasm import api, files
    from chiasm.methods.aldm import Options
    from chiasm.methods.aldm.translator import ALDM

    scan = dataset / "sub-0" / "sub-0_T1w.nii.gz"
    words = ("--model", model, "--to", "T2", "--start", "estimate", "--no-detail")
    made = chiasm("translate", "-i", scan, "-o", out / "0_T2w.nii.gz", *words)
    assert (made.code, made.err) == (0, "")
    refused = chiasm("translate", "-i", scan, "-o", out / "1_T2w.nii.gz", *words, "--seed", 1)
    assert refused.code == 2
    refused.assert_said("--seed 1", "--start estimate")
    # Several samples are several acquisitions of the scan, as without noise elsewhere.
    several = ("--samples", 2, "--seed", 1)
    assert chiasm("translate", "-i", scan, "-o", out / "2_T2w.nii.gz", *words, *several).code == 0
    assert load(out / "2_desc-std_T2w.nii.gz").max() > 0

    class Decoded(ALDM):
        def run(self, source, slice_indices, on_step):
            module = self.model.module
            latent = module.codec.encode(source)
            like = module.translator(latent, self.target_index(source), self.source_index(source))
            return module.codec.decode(like)

    whole = Decoded(api.load_translator(model, to="T2").model, Options(detail=False))
    expected = whole.told("T1w").translate(files.read(scan)).volume.array
    assert abs(load(out / "0_T2w.nii.gz") - expected).max() < 1e-3 * expected.max()


def test_an_estimate_that_is_alone_has_no_option_of_the_diffusion(chiasm, model, dataset, out):
    scan = dataset / "sub-0" / "sub-0_T1w.nii.gz"
    words = ("--model", model, "--to", "T2", "--start", "estimate", "--strength", "0.2")
    result = chiasm("translate", "-i", scan, "-o", out, *words)
    assert result.code == 2
    result.assert_said("--strength 0.2", "--start estimate runs no diffusion")
    assert not out.exists()


@pytest.fixture(scope="module")
def told(dataset, tmp_path_factory):
    """A model that is told the source's modality, trained both ways."""
    from chiasm.cli import main

    out = tmp_path_factory.mktemp("model") / "told"
    # Codes would round small differences away.
    unets = "latent.translator={name: source-unets, features: [4, 4, 4, 4, 4, 4]}"
    exact = "latent.quantise=false"
    with pytest.raises(SystemExit) as stop:
        main(
            [
                str(one)
                for one in command(
                    dataset,
                    out,
                    unets,
                    exact,
                    "all_targets=true",
                    "losses.cycle=0",
                    "diffusion.steps=1",
                )
            ]
        )
    assert stop.value.code == 0
    return out


def test_what_the_source_is_called_decides_what_is_made(chiasm, told, dataset, tmp_path):
    made, taken_as = {}, {}
    for name in ("T1w", "T2w", "PDw", "SWI"):
        scan = tmp_path / "in" / f"sub-0_{name}.nii.gz"
        scan.parent.mkdir(exist_ok=True)
        shutil.copy(dataset / "sub-0" / "sub-0_T1w.nii.gz", scan)
        words = ("-i", scan, "-o", tmp_path / name, "--model", told, "--to", "FLAIR")
        report = tmp_path / f"{name}.json"
        assert chiasm("translate", *words, "--report", report).code == 0
        (case,) = json.loads(report.read_text())["cases"]
        taken_as[name] = case["translation"]["source_taken_as"]
        made[name] = load(tmp_path / name / "sub-0_FLAIR.nii.gz")
    assert abs(made["T1w"] - made["T2w"]).max() > 0
    # Neither is among its modalities.
    assert abs(made["T1w"] - made["SWI"]).max() > 0
    assert abs(made["PDw"] - made["SWI"]).max() == 0
    other = "any other modality"
    assert taken_as == {"T1w": "T1w", "T2w": "T2w", "PDw": other, "SWI": other}


def test_resumed_stages_are_those_of_one_run(chiasm, model, dataset, tmp_path):
    broken = tmp_path / "any"
    shutil.copytree(model, broken)
    shutil.rmtree(broken / "translator")
    for name in ("config.json", "model.safetensors", "training.yaml"):
        (broken / name).unlink()
    before = (broken / "autoencoder" / "model.safetensors").stat().st_mtime_ns
    more = ("stages.diffusion.iterations=4", "--resume")
    assert chiasm(*command(dataset, broken, *more)).code == 0
    assert (broken / "autoencoder" / "model.safetensors").stat().st_mtime_ns == before
    assert all(equal(one, weights(broken)[key]) for key, one in weights(model).items())


def test_what_is_still_to_come_may_be_told_anew(chiasm, model, dataset, tmp_path):
    changed = tmp_path / "any"
    for name in ("autoencoder", "translator"):
        shutil.copytree(model / name, changed / name)
    refused = chiasm(*command(dataset, changed, "stages.translator.iterations=2", "--resume"))
    assert refused.code == 1
    refused.assert_said("--resume", "translator", "iterations")
    assert chiasm(*command(dataset, changed, "stages.diffusion.iterations=1", "--resume")).code == 0
    before, after = weights(model / "translator"), weights(changed)
    assert all(equal(before[key], after[key]) for key in before if key.startswith("translator"))


def test_an_autoencoder_of_another_model(chiasm, model, dataset, out):
    words = (f"pretrained={model}", "stages.autoencoder.iterations=0", "latent.translator=null")
    assert chiasm(*command(dataset, out, *words, "diffusion.residual=false")).code == 0
    assert not (out / "autoencoder").exists()
    before, after = weights(model), weights(out)
    codec = {name for name in after if name.startswith("codec.network")}
    assert codec
    assert all(equal(before[name], after[name]) for name in codec)
    assert not any(name.startswith("translator") for name in after)
    assert "tensors of any |" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["stages.autoencoder.iterations=0"],
            2,
            ["stages.autoencoder.iterations 0", "pretrained"],
        ),
        (["iterations=0"], 2, ["stages.autoencoder.iterations 0", "at least 1"]),
        (["pretrained=nope"], 2, ["pretrained", "nope", "is not a model"]),
        (["pretrained=brain-t1-tissue"], 2, ["pretrained", "has no weights that fit"]),
        (
            ["stages.translator.iterations=0", "pretrained=ANY"],
            2,
            ["translator", "before it"],
        ),
        (
            ["stages.autoencoder.iterations=0", "pretrained=ANY", "latent.autoencoder.codes=8"],
            2,
            ["pretrained", "lacks weights of the codec"],
        ),
        (
            ["stages.autoencoder.iterations=0", "pretrained=ANY", "--modalities", "T2,T1,FLAIR"],
            2,
            ["pretrained", "makes T1w, T2w, FLAIR"],
        ),
        (["pretrained=brain-t1"], 2, ["pretrained", "has no weights that fit"]),
        (["stages.nope.iterations=3"], 2, ["stages.nope", "autoencoder, translator, diffusion"]),
        (["stages.diffusion.nope=3"], 2, ["nope"]),
        (["latent.autoencoder.codes=0"], 2, ["latent", "at least 1"]),
        (["latent.bogus=1"], 2, ["latent.bogus"]),
        (["context={kind: 2.5d, neighbours: 1}"], 2, ["context.kind 2.5d", "2d or 3d"]),
        (["latent.translator.name=nope"], 2, ["latent.translator.name nope", "source-unets"]),
        (
            ["latent.translator={name: source-unets, features: [4]}"],
            2,
            ["latent", "features", "SourceUNets"],
        ),
        (["--target", "T1"], 2, ["--target", "--modalities"]),
        (["--resume"], 1, ["--resume", "no stage"]),
    ],
)
def test_refusals_in_training(chiasm, model, dataset, out, words, code, said):
    words = [word.replace("ANY", str(model)) for word in words]
    result = chiasm(*command(dataset, out, *words))
    assert result.code == code
    result.assert_said(*said)
    assert not files_below(out)


def test_stages_of_another_model_are_refused(chiasm, model, dataset, tmp_path):
    mixed = tmp_path / "any"
    shutil.copytree(model / "autoencoder", mixed / "autoencoder")
    other = "latent.autoencoder.latent=2"
    result = chiasm(*command(dataset, mixed, "--resume", other))
    assert result.code == 1
    result.assert_said("--resume", "latent")


@pytest.mark.parametrize("to", ["PD", "nope", "T2,PD"])
def test_a_target_that_it_does_not_make(chiasm, model, dataset, out, to):
    scan = dataset / "sub-0" / "sub-0_T1w.nii.gz"
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model, "--to", to)
    assert result.code == 2
    result.assert_said("--to", to.split(",")[-1].replace("PD", "PDw"))
    assert not files_below(out)


def test_several_targets_need_a_folder(chiasm, model, dataset, tmp_path):
    scan, out = dataset / "sub-0" / "sub-0_T1w.nii.gz", tmp_path / "one.nii.gz"
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model, "--to", "T2,FLAIR")
    assert result.code == 2
    result.assert_said("-o", out, "a folder")


def test_a_volume_too_large_for_memory(chiasm, model, dataset, out, monkeypatch):
    import chiasm.machine.memory as memory

    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**16)
    scan = dataset / "sub-0" / "sub-0_T1w.nii.gz"
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model, "--to", "T2")
    assert result.code == 1
    result.assert_said("voxels on the model's grid", "GB on cpu", "coarser grid")
    assert not files_below(out)


def test_memory_is_foretold(model):
    """More for more voxels, and for loss guidance, whose gradient goes back through the decoder."""
    from chiasm import api
    from chiasm.diffusion import loss_guidance

    plain = api.load_translator(model)
    sizes = [plain.memory((1, 1, n, n, n)) for n in (16, 32)]
    assert 6 < sizes[1] / sizes[0] < 9
    guided = api.load_translator(model, strength=0.2).memory((1, 1, 32, 32, 32))
    assert guided - loss_guidance.MEMORY > sizes[1]


def test_the_order_of_storage_changes_nothing(chiasm, model, dataset, tmp_path):
    original = nib.load(dataset / "sub-1" / "sub-1_T1w.nii.gz")
    made = {}
    for order in ("RAS", "LAS", "LPS", "PIR", "ASL"):
        turn = ornt_transform(io_orientation(original.affine), axcodes2ornt(order))
        scan = tmp_path / order / "a_T1w.nii.gz"
        scan.parent.mkdir()
        nib.save(original.as_reoriented(turn), scan)
        out = tmp_path / f"{order}.nii.gz"
        words = ("--model", model, "--to", "T2", "--steps", 1, "--seed", 2)
        assert chiasm("translate", "-i", scan, "-o", out, *words).code == 0
        made[order] = np.asarray(nib.as_closest_canonical(nib.load(out)).dataobj)
    assert np.ptp(made["RAS"]) > 0
    for order, one in made.items():
        np.testing.assert_array_equal(one, made["RAS"], err_msg=order)
