"""Latents that are computed once: those of what a batch shows, in its box and mirrored or not."""

import json

import numpy as np
import pytest
import torch

from chiasm import files
from chiasm.image.volume import Volume
from chiasm.methods.aldm.samples import AnyToAnySamples
from chiasm.training.data import find_subjects
from chiasm.training.settings import training_settings
from chiasm.training.sources import find_paired

SHAPE = (22, 32, 20)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    inside = np.zeros(SHAPE, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    for seed in range(3):
        for modality in ("T1w", "T2w", "FLAIR"):
            array = np.random.default_rng([seed, len(modality)]).uniform(10, 90, SHAPE)
            path = folder / f"sub-{seed}" / f"sub-{seed}_{modality}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            volume = Volume(np.where(inside, array, 0), np.diag([2.0, 2, 2, 1]), modality=modality)
            files.write(volume, path)
    settings = training_settings("aldm", "T1w", None, (), ("T2w", "FLAIR"))
    subjects = find_paired(folder, find_subjects(folder, "T1w"), settings.sources)
    return AnyToAnySamples(subjects, settings, divisible_by=4)


def encoder(image):
    """Of every 2 × 2 × 2 voxels their mean and how they rise to the left: (B, 2, ...)."""
    mean = torch.nn.functional.avg_pool3d
    rises = mean(image[:, :, 1::2], (1, 2, 2)) - mean(image[:, :, ::2], (1, 2, 2))
    return torch.cat([mean(image, 2), rises], dim=1)


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("crop", [None, [8, 12, 8]])
def test_they_are_of_the_images_beside_them(samples, crop, flip):
    chosen = {"rotation": 0, "scale": 0, "flip": flip, "crop": crop}
    settings = training_settings(
        "aldm", "T1w", None, (f"augmentation={json.dumps(chosen)}",), ("T2w",)
    )
    samples.encode(encoder, "blocks")
    seen = set()
    for step in range(6):
        batch = samples.batch(2, (0, step), settings.augmentation)
        of_images = encoder(batch.every.flatten(0, 1)[:, None])
        torch.testing.assert_close(
            batch.latents.flatten(0, 1).float(), of_images, atol=1e-3, rtol=0
        )
        assert of_images[:, 1].abs().max() > 0.1
        seen.add(tuple(batch.image.shape[2:]))
    assert seen == {tuple(crop or samples.images.shape[2:])}


def test_a_turned_batch_has_none(samples):
    samples.encode(encoder, "blocks")
    settings = training_settings("aldm", "T1w", None, ("augmentation.rotation=5",), ("T2w",))
    batch = samples.batch(2, (0, 0), settings.augmentation)
    assert batch.latents is None
    assert batch.mirrored is None
    samples.forget_latents()
    assert samples.batch(2, (0, 0), None).latents is None


def test_they_are_not_computed_again_by_the_same_encoder(samples):
    samples.forget_latents()
    seen = []
    for name in ("one", "one", "other"):
        samples.encode(lambda image: seen.append(len(image)) or encoder(image), name)
    assert len(seen) == 2 * 2 * samples.every[:, :, 0, 0, 0, 0].numel()
