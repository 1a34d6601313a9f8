"""Every stage of ALDM learns: losses fall, and one volume is learned by heart."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chiasm import api, files
from chiasm.image.intensity import on_unit_range
from chiasm.machine.device import Resources
from chiasm.scoring.image import image_scores
from chiasm.training.fit import train
from chiasm.training.settings import training_settings

# Three stages are trained, which takes a minute.
pytestmark = pytest.mark.long

CPU = Resources(device="cpu")
LEVELS = {"T1w": (60, 110, 170), "T2w": (170, 110, 60)}
SETTINGS = (
    "grid.spacing=[1, 1, 1]",
    "latent={autoencoder: {channels: [24], codes: 2048, latent: 4}, "
    "translator: {features: [16], hidden: 16}}",
    "network.arguments={channels: [16, 32], num_res_blocks: 1, "
    "attention_levels: [false, false], norm_num_groups: 4}",
    "augmentation={flip: 0, rotation: 0, scale: 0}",
    "adversarial.critic={channels: 8, num_layers_d: 2}",
    "train_subjects=[sub-0]",
    "validation_subjects=[sub-1]",
    "precision=32-true",
    "learning_rate=0.003",
    "iterations=400",
    "stages.autoencoder.iterations=1400",
    "warmup=20",
    "ema=0.98",
    "batch=2",
)


def write_subjects(folder):
    """Two heads of 16³ voxels, smooth inside; the second is for validation alone."""
    at = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij"))
    for seed in range(2):
        rng = np.random.default_rng(seed)
        warp = gaussian_filter(rng.normal(size=(16, 16, 16)), 3)
        radius = np.sqrt((at**2).sum(0)) + 0.1 * warp / warp.std()
        tissue = np.select([radius < 0.35, radius < 0.65, radius < 0.9], [3, 2, 1], 0)
        for modality, levels in LEVELS.items():
            image = gaussian_filter(np.array([0, *levels])[tissue].astype(float), 0.7)
            image = np.where(tissue > 0, image + rng.uniform(0, 3, image.shape), 0)
            path = folder / f"sub-{seed}" / f"sub-{seed}_{modality}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    write_subjects(folder)
    out = tmp_path_factory.mktemp("model") / "any"
    train(folder, out, training_settings("aldm", "T1w", None, SETTINGS, ("T2w",)), device="cpu")
    return folder, out


@pytest.mark.parametrize("stage", ["autoencoder", "translator", ""])
def test_the_loss_falls(trained, stage):
    _, out = trained
    with (out / stage / "log" / "metrics.csv").open() as lines:
        losses = [float(row["loss"]) for row in csv.DictReader(lines) if row["loss"]]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("to", ["T1w", "T2w"])
def test_one_volume_by_heart(trained, to):
    folder, out = trained
    source, target = (
        files.read(folder / "sub-0" / f"sub-0_{one}.nii.gz", modality=one)
        for one in (*(set(LEVELS) - {to}), to)
    )
    mask = target.array > 0
    made = api.load_translator(out, to=to, resources=CPU).translate(source, mask).volume
    images = [on_unit_range(one, mask) for one in (made, target)]
    assert image_scores(*images, mask).psnr >= 30
