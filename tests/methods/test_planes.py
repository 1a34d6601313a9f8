"""Slices of any plane through the network and back; noise of a slice, and noise shared by all."""

from pathlib import Path

import numpy as np
import pytest
import torch

from chiasm import models
from chiasm.errors import CaseError, UsageError
from chiasm.image.context import Context
from chiasm.image.intensity import policy_for
from chiasm.image.preparation import GridSettings
from chiasm.image.volume import Volume
from chiasm.machine.device import Resources
from chiasm.methods.base import NetworkTranslator
from chiasm.methods.lmi_diffusion import METHOD
from chiasm.methods.lmi_diffusion.translator import LMIDiffusion
from chiasm.methods.load import load_translator
from chiasm.methods.options import NetworkOptions

AFFINES = {
    "plain": np.diag([2.0, 2, 2, 1]),
    "thick, flipped, permuted": np.array(
        [[0, -2, 0, 9], [0, 0, -3, 1], [2, 0, 0, -4], [0, 0, 0, 1.0]]
    ),
}
NETWORK = {
    "name": "diffusion-unet",
    "arguments": {
        "channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
}


def ball(affine=AFFINES["plain"], shape=(34, 36, 30)):
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = 300 + 100 * np.cos(3 * index[0]) + 100 * index[1] + 80 * np.sin(2 * index[2])
    head = np.sqrt((index**2).sum(0)) < 0.9
    return Volume(np.where(head, inside, 0), affine, modality="T1w"), head


def model(target, module, **changes):
    settings = {
        "kind": "translator",
        "method": "regression",
        "target": "T1w",
        "grid": GridSettings(spacing=(2.0, 2.0, None)),
        "network": NETWORK,
        "intensity": target,
    }
    one = models.Model("test", Path("test"), models.ModelConfig(**settings | changes))
    one.__dict__["module"] = module
    return one


class Identity(torch.nn.Module):
    divisible_by = 8


class Unchanged(NetworkTranslator):
    """A network that gives back what it sees, and notes it."""

    def __init__(self, *given):
        super().__init__(*given)
        self.seen = []

    def run(self, source, places, on_step):
        self.seen.append(source.clone())
        return source


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("planes", ["axial", "coronal", "sagittal", "orthogonal"])
def test_an_identity_on_any_plane_gives_the_volume_back(planes, name):
    volume, head = ball(AFFINES[name])
    own = policy_for("T1w").fit(volume, head)
    translator = Unchanged(
        model(own, Identity()), NetworkOptions(planes=planes), Resources(batch=100)
    )
    result = translator.translate(volume, head)
    expected = np.where(head, np.clip(volume.array, own.low, own.high), own.background)
    error = np.abs(result.volume.array - expected)
    if name == "plain":  # 2 mm in every direction: nothing is resampled
        np.testing.assert_allclose(result.volume.array, expected, atol=0.01)
    assert error[head].mean() < 0.01 * (own.high - own.low)
    assert (result.volume.array[~head] == own.background).all()
    names = ["axial", "coronal", "sagittal"] if planes == "orthogonal" else [planes]
    assert list(result.record["planes"]) == names


def test_orthogonal_slices_are_the_volumes_own():
    volume, head = ball()
    own = policy_for("T1w").fit(volume, head)
    translator = Unchanged(
        model(own, Identity()), NetworkOptions(planes="orthogonal"), Resources(batch=100)
    )
    translator.translate(volume, head)
    unit = np.clip(own.forward(volume.array), 0, 1) * head
    inside = [np.flatnonzero(head.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    for seen, axis, places in zip(translator.seen, (2, 1, 0), inside, strict=True):
        slices = np.moveaxis(unit, axis, 0)[places]
        assert len(seen) == len(places)
        # Padded to a multiple of 8, the head's box in the middle.
        np.testing.assert_allclose(seen.sum(dim=(1, 2, 3)), slices.sum(axis=(1, 2)), rtol=1e-4)
        assert all(size % 8 == 0 for size in seen.shape[2:])


def test_the_average_is_of_the_three_planes():
    """A network that answers with the plane it is run on, 0, 0.5 and 1."""
    volume, head = ball(shape=(34, 44, 60))  # after the box of the head: 32 or 40 or 56 long

    class ByShape(Unchanged):
        def run(self, source, places, on_step):
            answers = {(32, 40): 0.0, (32, 56): 0.5, (40, 56): 0.9}
            return torch.full_like(source, answers[tuple(source.shape[2:])])

    own = policy_for("T1w").fit(volume, head).model_copy(update={"low": 0.0, "high": 3.0})
    translator = ByShape(model(own, Identity()), NetworkOptions(planes="orthogonal"))
    result = translator.translate(volume, head).volume
    np.testing.assert_allclose(result.array[head], 1.4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "planes"),
    [
        ((34, 36, 30), ["axial", "coronal", "sagittal"]),
        ((34, 36, 19), ["axial"]),  # 38 mm along SI
        ((34, 19, 30), ["coronal"]),
        ((19, 19, 30), ["own"]),
    ],
)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_the_default_planes_are_those_that_show_enough(axes, shape, planes):
    """Whatever the order in which the axes are stored."""
    affine = AFFINES["plain"][:, [*axes, 3]]
    volume, head = ball(affine, tuple(shape[axis] for axis in axes))
    own = policy_for("T1w").fit(volume, head)
    made = model(own, Identity(), settings={"inference_planes": "orthogonal"})
    result = Unchanged(made, NetworkOptions()).translate(volume, head)
    assert list(result.record.get("planes", ["own"])) == planes
    chosen = Unchanged(made, NetworkOptions(planes="sagittal")).translate(volume, head)
    assert list(chosen.record["planes"]) == ["sagittal"]


def test_a_method_that_borrows_a_model_uses_its_own_plane_and_number_of_steps():
    """Both were chosen for the guided process."""
    guided = load_translator("brain-t1-lmi")
    assert set(guided.grids) == {"axial", "coronal", "sagittal"}
    for method in ("sdedit", "loss-guidance"):
        borrowed = load_translator("brain-t1-lmi", method)
        assert set(borrowed.grids) == {"own"}
        assert borrowed.diffusion.steps == 8 != guided.diffusion.steps
        assert set(load_translator("brain-t1-lmi", method, planes="coronal").grids) == {"coronal"}
        assert load_translator("brain-t1-lmi", method, steps=3).diffusion.steps == 3


def test_planes_that_a_model_or_a_scan_does_not_have():
    volume, head = ball()
    own = policy_for("T1w").fit(volume, head)
    with pytest.raises(UsageError, match=r"--planes coronal.*whole volumes"):
        Unchanged(
            model(own, Identity(), context=Context(kind="3d")), NetworkOptions(planes="coronal")
        )
    thin = Volume(volume.array[:, :, 10:20], volume.affine, modality="T1w")
    translator = Unchanged(model(own, Identity()), NetworkOptions(planes="orthogonal"))
    with pytest.raises(CaseError, match="10 voxels along its in-plane axis"):
        translator.translate(thin, head[:, :, 10:20])


def test_shared_noise_is_the_same_in_all_slices():
    """Without guidance a slice depends on its noise alone."""
    volume, head = ball(shape=(18, 18, 5))
    own = policy_for("T1w").fit(volume, head)
    changes = {
        "method": "lmi-diffusion",
        "network": NETWORK,
        "settings": {
            "guides": [{"name": "source"}],
            "diffusion": {"parameterisation": "v", "steps": 2},
        },
    }
    made = model(own, None, **changes)
    torch.manual_seed(0)
    made.__dict__["module"] = models.build(made.config).eval()
    for weight in made.module.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    results = {}
    for noise in ("shared", "slice"):
        for scheduler in ("ddim", "ddpm"):
            options = METHOD.check({"noise": noise, "guidance": 0, "scheduler": scheduler})
            translator = LMIDiffusion(made, options, Resources(batch=2))
            out = [
                translator.run(torch.rand(len(places), 1, 16, 16), places, None)
                for places in ([0, 1], [2, 3])
            ]
            results[noise, scheduler] = torch.cat(out).detach()
    for scheduler in ("ddim", "ddpm"):
        shared, own_noise = results["shared", scheduler], results["slice", scheduler]
        torch.testing.assert_close(shared, shared[:1].expand_as(shared))
        assert (own_noise[0] - own_noise[1:]).abs().mean(dim=(1, 2, 3)).min() > 0.05
        torch.testing.assert_close(shared[0], own_noise[0])
