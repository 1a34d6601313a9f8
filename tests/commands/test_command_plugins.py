"""One file outside the package adds a guide, a method, a segmenter or a file format."""

import json
import os
import subprocess
import sys
import textwrap

import nibabel as nib
import numpy as np
import pytest
from command_samples import AFFINE, TARGET, UNET, brain, files_below, load, save_nifti

from chiasm import files, registry
from chiasm.image.volume import Label, LabelVolume

GUIDE = '''
"""A guide: how far the source is from the middle of its range."""

from typing import Literal

from chiasm.guides.base import Guide
from chiasm.registry import GUIDES


class MiddleGuide(Guide):
    name: Literal["middle"] = "middle"
    randomise: bool = True
    middle: float = 0.5

    def channels(self, images, spatial_dims):
        return images

    def prepare(self, source):
        found = (source - self.middle).abs() * 2 - 1
        return lambda sample, time: found


GUIDES.add("middle", MiddleGuide, "The distance of the source from the middle of its range.")
'''

METHOD = '''
"""A method with weights of its own: a straight line from the source to the target."""

import torch
from pydantic import Field
from torch import nn

from chiasm.methods.base import NetworkTranslator
from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions
from chiasm.registry import METHODS, NETWORKS
from chiasm.training.objective import Objective
from chiasm.training.settings import TrainingSettings


class Line(nn.Module):
    divisible_by = 1

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.2]))

    def forward(self, x, t=None):
        return self.weights[0] * x + self.weights[1]


class Options(DeterministicOptions):
    gain: float = Field(
        default=1.0, gt=0, description="The factor of the translation, which is above 0."
    )


class Translator(NetworkTranslator):
    @staticmethod
    def build(config):
        return Line()

    def run(self, source, slice_indices, on_step):
        middle = source.shape[1] // 2
        on_step(1, 1)
        return self.options.gain * self.model.module(source[:, middle : middle + 1])

    def settings(self):
        return {"gain": self.options.gain}


class Settings(TrainingSettings):
    network: dict = {"name": "line"}
    offset: float = 0.0


class LineObjective(Objective):
    kind, method, settings_class = "translator", "line", Settings

    def loss(self, batch, generator):
        wanted = 1 - batch.centre + self.settings.offset
        return self.weigh((self.module(batch.centre) - wanted).abs(), batch.centre_mask)


NETWORKS.add("line", lambda *sizes: Line(), "A straight line.")
METHODS.add(
    "line",
    Method(
        "line",
        Translator,
        options=Options,
        objective=LineObjective,
        runs=("line",),
        model_settings=("offset",),
    ),
    "A straight line from the intensities of the source to those of the target.",
)
'''

SEGMENTER = '''
"""A segmenter without a model folder: thresholds."""

import numpy as np

from chiasm.image.volume import Label, LabelVolume
from chiasm.registry import SEGMENTERS
from chiasm.segmenters.base import Segmentation, Segmenter


class Thresholds(Segmenter):
    name, modality = "thresholds", "T1w"
    labels = (
        Label(0, "background", "#000000"),
        Label(1, "csf", "#4477aa"),
        Label(2, "grey", "#228833"),
        Label(3, "white", "#ccbb44"),
    )

    def __init__(self, resources):
        self.resources = resources

    def segment(self, volume, mask=None):
        inside = volume.array > 0 if mask is None else mask
        ends = np.percentile(volume.array[inside], (33, 67))
        found = np.where(inside, 1 + np.digitize(volume.array, ends), 0)
        labels = LabelVolume(found.astype(np.int16), volume.affine, self.labels)
        return Segmentation(labels, {"ends": ends.tolist()})


SEGMENTERS.add("thresholds", Thresholds, "Three classes of equal size by their brightness.")
'''

FORMAT = '''
"""A file format: NumPy arrays with an affine (.vox)."""

import numpy as np

from chiasm.errors import CaseError, explain
from chiasm.registry import FORMATS


class Vox:
    SUFFIXES = (".vox",)
    RECORDS_SPACING = True

    def _open(self, path):
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError):
            return None

    def read(self, path, spacing, argument):
        found = self._open(path)
        if found is None:
            raise CaseError(explain(argument, path, "is no .vox file", "a file of NumPy arrays"))
        return found["array"], found["affine"]

    def description(self, path):
        found = self._open(path)
        return "" if found is None else str(found["description"])

    def write(self, draft, array, affine, *, name, like, description):
        with draft.open("wb") as file:
            np.savez(file, array=array, affine=affine, description=description)


FORMATS.add("vox", Vox(), "NumPy arrays with an affine (.vox).")
'''
REGISTRIES = [one for one in vars(registry).values() if isinstance(one, registry.Registry)]


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Write a plug-in file and name it in CHIASM_PLUGINS; afterwards its names are forgotten."""
    before = [dict(one) for one in REGISTRIES]
    modules = set(sys.modules)

    def add(*contents):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"plug_in_{number}.py"
            path.write_text(content)
            paths.append(str(path))
        monkeypatch.setenv(registry.PLUGINS, os.pathsep.join(paths))
        return paths

    yield add
    for one, names in zip(REGISTRIES, before, strict=True):
        for name in set(one) - set(names):
            one.remove(name)
    for name in set(sys.modules) - modules:
        if name.startswith("chiasm_plugin_"):
            del sys.modules[name]


@pytest.fixture
def dataset(tmp_path):
    """Three subjects with T1w, PDw and a label map."""
    folder = tmp_path / "bids"
    labels = tuple(
        Label(v, n, "#000000") for v, n in enumerate(("background", "csf", "grey", "white"))
    )
    for seed, name in enumerate(("sub-01", "sub-02", "sub-03")):
        anat = folder / name / "anat"
        path = save_nifti(anat / f"{name}_T1w.nii.gz", brain(seed=seed))
        save_nifti(anat / f"{name}_PDw.nii.gz", brain(seed=seed, levels=(150, 90, 30)))
        truth = LabelVolume(brain(labels=True), files.read(path).affine, labels)
        files.write(truth, anat / f"{name}_dseg.nii.gz")
    return folder


def train(chiasm, dataset, model, method, *settings, iterations=2):
    words = ("train", "-i", dataset, "-o", model, "--target", "T1", "--method", method)
    short = (f"iterations={iterations}", "batch=2", "precision=32-true", "warmup=1", "ema=0")
    result = chiasm(*words, *short, *settings)
    assert (result.code, result.err) == (0, "")
    return json.loads((model / "config.json").read_text())


def listed(chiasm, section):
    return json.loads(chiasm("info", "--json").out)[section]


def test_a_guide(chiasm, plug_in, dataset, scan, tmp_path, out):
    assert "middle" not in listed(chiasm, "guides")
    plug_in(GUIDE)
    about = "The distance of the source from the middle of its range."
    assert listed(chiasm, "guides")["middle"] == about
    assert about in chiasm("info").out
    model = tmp_path / "model"
    guides = 'guides=[{"name":"source"},{"name":"middle","middle":0.25}]'
    config = train(chiasm, dataset, model, "regression", f"network={json.dumps(UNET)}", guides)
    assert config["settings"]["guides"][1] == {"name": "middle", "randomise": True, "middle": 0.25}
    result = chiasm("translate", "-i", scan, "-o", out, "--model", model)
    assert (result.code, result.err) == (0, "")
    wrong = chiasm(
        *(
            "train",
            "-i",
            dataset,
            "-o",
            tmp_path / "no",
            "--target",
            "T1",
            "--method",
            "regression",
        ),
        'guides=[{"name":"middle","bogus":1}]',
    )
    assert wrong.code == 2
    wrong.assert_said("guide.middle.bogus")


def test_a_method_with_weights_and_options(
    chiasm, plug_in, dataset, scan, tmp_path, out, segmenter
):
    assert "--gain" not in chiasm("translate", "--help").out
    plug_in(METHOD)
    assert "line" in listed(chiasm, "methods")
    assert "--gain" in listed(chiasm, "method options")["line"]
    assert "line" in listed(chiasm, "training methods")
    for command in ("translate", "run"):
        shown = " ".join(chiasm(command, "--help").out.split())
        assert "The factor of the translation, which is above 0. Methods: line." in shown

    model = tmp_path / "lines"
    rate = ("learning_rate=0.2", "validate_every=40", "offset=-0.25")
    config = train(chiasm, dataset, model, "line", *rate, iterations=80)
    assert (config["method"], config["settings"]) == ("line", {"offset": -0.25})
    plain = out / "plain.nii.gz"
    assert chiasm("translate", "-i", scan, "-o", plain, "--model", model).code == 0
    inside, tissue = brain() > 0, brain(labels=True)
    # It learned the negative: what is dark in the source is bright in the translation.
    csf, grey, white = (load(plain)[tissue == label].mean() for label in (1, 2, 3))
    assert csf > grey > white
    low = config["intensity"]["low"]
    halved, report = out / "half.nii.gz", out / "r.json"
    words = ("--model", model, "--gain", 0.5, "--report", report)
    assert chiasm("translate", "-i", scan, "-o", halved, *words).code == 0
    used = load(plain)[inside] - low
    middle = (used > 0) & (used < 0.95 * used.max())
    np.testing.assert_allclose((load(halved)[inside] - low)[middle], used[middle] / 2, rtol=1e-3)
    (case,) = json.loads(report.read_text())["cases"]
    assert (case["method"], case["options"]["gain"]) == ("line", 0.5)
    assert case["translation"]["gain"] == 0.5

    words = ("--model", model, "--segmenter", segmenter, "--gain", 0.5)
    assert chiasm("run", "-i", scan, "-o", out / "run", *words).code == 0
    np.testing.assert_array_equal(load(out / "run" / "sub-01_T1w.nii.gz"), load(halved))

    refused = chiasm("translate", "-i", scan, "-o", out / "no", "--model", model, "--steps", 2)
    assert refused.code == 2
    refused.assert_said("--steps 2", "the method line", "--gain")
    illegal = chiasm("translate", "-i", scan, "-o", out / "no", "--model", model, "--gain", 0)
    assert illegal.code == 2
    illegal.assert_said("--gain 0", "greater than 0")


def test_a_method_and_a_segmenter_are_compared(chiasm, plug_in, dataset, tmp_path, out):
    plug_in(METHOD, SEGMENTER)
    model = tmp_path / "lines"
    train(chiasm, dataset, model, "line", "learning_rate=0.05", iterations=80)
    methods = f"none,line={model},half={model}@gain=0.5"
    words = ("--segmenter", "thresholds", "--methods", methods, "--sources", "PD")
    result = chiasm("compare", "-i", dataset, "-o", out, *words)
    assert (result.code, result.err) == (0, "")
    rows = json.loads((out / "compare.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"none", "line", "half", "real T1w"}
    dice = {row["method"]: row["dice"] for row in rows if row["subject"] == "sub-01"}
    # The negative of a PD image with the order of tissues turned round is like the T1.
    assert dice["line"] > dice["none"]
    assert dice["half"] == pytest.approx(dice["line"], abs=0.05)


def test_a_segmenter_without_a_model_folder(chiasm, plug_in, scan, t1, out, tmp_path, regression):
    plug_in(SEGMENTER)
    about = "Three classes of equal size by their brightness."
    assert listed(chiasm, "segmenters")["thresholds"] == about
    report = tmp_path / "r.json"
    words = ("-i", t1, "-o", out, "--segmenter", "thresholds", "--report", report)
    assert (chiasm("segment", *words).code, files_below(out)) == (
        0,
        ["sub-01_dseg.nii.gz", "sub-01_dseg.tsv"],
    )
    (case,) = json.loads(report.read_text())["cases"]
    assert case["segmenter"] == {"name": "thresholds"}
    assert len(case["segmentation"]["ends"]) == 2
    labels, shares = np.unique(load(out / "sub-01_dseg.nii.gz")[brain() > 0], return_counts=True)
    assert set(labels) >= {1, 2, 3}
    assert shares[-3:].min() > 0.25 * shares.sum()

    words = ("--model", regression, "--segmenter", "thresholds")
    assert chiasm("run", "-i", scan, "-o", out / "run", *words).code == 0
    made = files_below(out / "run")
    assert made == ["sub-01_T1w.nii.gz", "sub-01_dseg.nii.gz", "sub-01_dseg.tsv"]
    # It wants T1w, which is asked of it as of any other.
    told = chiasm("segment", "-i", scan, "-o", out / "pd", "--segmenter", "thresholds")
    assert told.code == 0
    assert "thresholds knows only T1w" in told.err


def test_a_file_format(chiasm, plug_in, tmp_path, out, scan, regression, segmenter):
    path = tmp_path / "vox" / "sub-01_PDw.vox"
    path.parent.mkdir()
    with path.open("wb") as file:
        np.savez(file, array=brain(), affine=AFFINE, description="")
    before = chiasm("translate", "-i", path, "-o", out, "--model", regression)
    assert before.code == 1
    before.assert_said("-i", path, "unknown ending", ".nii.gz")

    plug_in(FORMAT)
    assert listed(chiasm, "file formats")["vox"] == "NumPy arrays with an affine (.vox)."
    # Found in a folder, kept in its format, marked, and the same voxels as of a NIfTI.
    words = ("--model", regression, "--segmenter", segmenter)
    assert chiasm("run", "-i", path.parent, "-o", out, *words).code == 0
    assert files_below(out) == ["sub-01_T1w.vox", "sub-01_dseg.tsv", "sub-01_dseg.vox"]
    assert chiasm("run", "-i", scan, "-o", out / "nifti", *words).code == 0
    for name in ("T1w", "dseg"):
        made = np.load(out / f"sub-01_{name}.vox")
        np.testing.assert_array_equal(made["array"], load(out / "nifti" / f"sub-01_{name}.nii.gz"))
        np.testing.assert_array_equal(made["affine"], AFFINE)
        assert str(made["description"]).startswith("synthetic: chiasm")
    again = chiasm("translate", "-i", out, "-o", tmp_path / "again", "--model", regression)
    assert again.code == 1
    again.assert_said("image", "that Chiasm made")
    # A file of one name, its mask beside it, and scores.
    mask = path.with_name("sub-01_mask.vox")
    with mask.open("wb") as file:
        np.savez(file, array=(brain() > 60).astype(np.uint8), affine=AFFINE, description="")
    one = tmp_path / "one.vox"
    assert chiasm("translate", "-i", path, "-o", one, "--model", regression).code == 0
    made = np.load(one)["array"]
    assert (made[brain() <= 60] == TARGET.background).all()
    scored = chiasm("evaluate", "--pred", one, "--truth", one, "--mask", mask)
    assert json.loads(scored.out)["image"]["mae"] == 0
    path.write_bytes(b"nothing")
    damaged = chiasm("translate", "-i", path, "-o", tmp_path / "no.vox", "--model", regression)
    assert damaged.code == 1
    damaged.assert_said("-i", path, "is no .vox file")


def test_a_format_is_trained_on(chiasm, plug_in, dataset, tmp_path):
    plug_in(FORMAT)
    folder = tmp_path / "vox"
    for path in dataset.rglob("*_T1w.nii.gz"):
        made = folder / path.name.replace(".nii.gz", ".vox")
        made.parent.mkdir(exist_ok=True)
        image = nib.load(path)
        with made.open("wb") as file:
            np.savez(file, array=image.get_fdata(), affine=image.affine, description="")
    network = f"network={json.dumps(UNET)}"
    config = train(chiasm, folder, tmp_path / "model", "regression", network)
    assert config["training"]["subjects"] == {"train": 2, "validation": 1}


def test_a_process_of_its_own_reads_the_plug_ins(plug_in, scan, out, regression):
    """As users do: the variable, and a command."""
    paths = plug_in(SEGMENTER, FORMAT)
    environment = os.environ | {registry.PLUGINS: os.pathsep.join(paths)}
    command = [sys.executable, "-m", "chiasm", "info", "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found = json.loads(shown.stdout)
    assert "thresholds" in found["segmenters"]
    assert "vox" in found["file formats"]


BROKEN = {
    "it is not there": (None, "does not exist"),
    "it has an error": ("import nowhere_at_all", "ModuleNotFoundError"),
    "its name is in use": (
        """
        from chiasm.registry import METHODS
        METHODS.add("none", object(), "Another none.")
        """,
        "is registered already as a method",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plug_in_that_cannot_be_used_is_told(chiasm, kind, tmp_path, monkeypatch):
    content, said = BROKEN[kind]
    path = tmp_path / "plug_in.py"
    if content is not None:
        path.write_text(textwrap.dedent(content))
    monkeypatch.setenv(registry.PLUGINS, str(path))
    result = chiasm("info")
    assert result.code == 2
    result.assert_said(said)
    assert "none" in registry.METHODS
