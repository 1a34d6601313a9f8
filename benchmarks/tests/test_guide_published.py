"""The guide `lmi-published`: it is registered, and its channels are the published layer's maps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import published.guide  # registers the guide
from chiasm.errors import UsageError
from chiasm.guides import guide_from_config
from chiasm.image.context import Context
from chiasm.image.preparation import GridSettings
from chiasm.registry import GUIDES
from published.lmi import local_mutual_information

PLUGIN = Path(published.guide.__file__)
RECIPE = Path(__file__).parents[1] / "recipes" / "brain-t1-lmi-published.yaml"


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    source = torch.rand((2, 2, 13, 11), generator=generator)
    return source, torch.randn((2, 1, 13, 11), generator=generator)


def test_channels_are_the_maps_of_every_slice(images):
    source, x_t = images
    guide = guide_from_config({"name": "lmi-published"})
    values = guide.prepare(source)(x_t, None)
    assert values.shape == (2, guide.channels(2, 2), 13, 11) == (2, 4, 13, 11)
    for subject, image in ((0, 0), (1, 1)):
        own = source[subject, image]
        with_sample = local_mutual_information(own, x_t[subject, 0]) * 2 - 1
        with_itself = local_mutual_information(own, own) * 2 - 1
        torch.testing.assert_close(values[subject, image], with_sample)
        torch.testing.assert_close(values[subject, 2 + image], with_itself)


def test_one_map_needs_no_sample(images):
    guide = guide_from_config({"name": "lmi-published", "maps": ["source"]})
    assert not guide.needs_sample
    assert guide.prepare(images[0])(None, None).shape[1] == guide.channels(2, 2) == 2


def test_what_it_refuses():
    guide = guide_from_config({"name": "lmi-published"})
    with pytest.raises(UsageError, match=r"context.kind 3d.*slices alone"):
        guide.check(GridSettings(spacing=(2.0, 2.0, 2.0)), Context(kind="3d"))
    with pytest.raises(UsageError, match="each once"):
        guide_from_config({"name": "lmi-published", "maps": ["source", "source"]})


def test_the_recipe_names_it():
    (guide,) = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["guides"]
    assert guide_from_config(guide).needs_sample


def test_registering_twice_is_no_error():
    before = GUIDES["lmi-published"]
    code = compile(PLUGIN.read_text(encoding="utf-8"), str(PLUGIN), "exec")
    exec(code, {"__name__": "chiasm_plugin_guide", "__file__": str(PLUGIN)})
    assert GUIDES["lmi-published"] == before


@pytest.mark.long
def test_the_command_line_reads_the_plug_in(tmp_path):
    words = ["train", "-i", str(tmp_path), "-o", str(tmp_path / "out"), "--target", "T1"]
    words += ["--method", "lmi-diffusion", "guides=[{name: lmi-published, bins: none}]"]
    command = [sys.executable, "-m", "chiasm", *words]
    for plugins, said in ((str(PLUGIN), "guide.lmi-published.bins"), ("", "is not a known guide")):
        environment = os.environ | {"CHIASM_PLUGINS": plugins}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 2
        assert said in done.stderr
