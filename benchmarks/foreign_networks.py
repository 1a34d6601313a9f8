"""Segmenters and a brain extraction that others trained, run with PyTorch.

The networks are those of brainchop. Their weights lie in a folder that is no part of this project
(``meshnet/model20chan3cls``, ``meshnet/model5_gw_ae``, ``meshnet/mindgrab`` and
``sae/robust_tissue``); what is here was written from the shapes of the weights and from the
published descriptions of the networks.

Each network sees a scan as its own tool shows it: voxels of 1 mm, whose axes run to the left, to
the feet and to the front (LIA), in a field of 256×256×256 voxels. The intensities are laid on
[0, 1] by the quantiles 2 % and 98 % of the whole field, air included.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from torch import Tensor, nn

from chiasm.image.foreground import background_value
from chiasm.image.resample import resample_onto
from chiasm.image.volume import TISSUES, Label, LabelVolume, Volume
from chiasm.segmenters.base import Segmentation, Segmenter

AXES = ("L", "I", "A")
FIELD = 256  # voxels of 1 mm along each axis of the field
QUANTILES = (0.02, 0.98)
_SAME = 0.01  # spacings that differ from 1 mm by less than this share are not resampled
_DEPTH = 64  # times that a single slice is repeated, because the networks are 3D
_MESHNET_DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
_MINDGRAB_DILATIONS = (16, 8, 4, 2, 1) * 5
# Of the convolutions with kernels of 3×3×3. The sixth halves the resolution, and a transposed
# convolution before the twelfth restores it.
_TISSUE_DILATIONS = (1, 2, 4, 6, 8, 1, 10, 12, 16, 12, 10, 8, 6, 4, 2, 1)
_HALVING, _RESTORING = 5, 11
GREY, WHITE = TISSUES[2], TISSUES[3]
BRAIN = (TISSUES[0], Label(1, "brain", "#ffffff"))


def _convolution(weight: Tensor, bias: Tensor | None, dilation: int, stride: int = 1) -> nn.Conv3d:
    """A 3D convolution with these weights, whose result is as large as its input."""
    made, given, size = weight.shape[:3]
    pad = dilation * (size // 2)
    layer = nn.Conv3d(
        given, made, size, stride=stride, padding=pad, dilation=dilation, bias=bias is not None
    )
    layer.weight.data = weight.float()
    if bias is not None:
        layer.bias.data = bias.float()  # type: ignore[union-attr]
    return layer


def meshnet(path: Path, activation: type[nn.Module]) -> nn.Sequential:
    """A MeshNet of three classes from ``model.bin``.

    Parameters
    ----------
    path : Path
        Raw little-endian float32: for each convolution its kernel, shape (3, 3, 3, in, out), and
        its bias, shape (out,); the last kernel is 1×1×1. The number of channels follows from the
        number of values.
    activation : class
        Of the module that follows each convolution but the last.
    """
    values = torch.from_numpy(np.fromfile(path, "<f4").astype(np.float32))
    depth = len(_MESHNET_DILATIONS)
    # 27 c + c, then (depth − 1) times 27 c² + c, then 3 c + 3.
    size = _root(27 * (depth - 1), 27 + depth + 3, 3 - len(values))
    layers: list[nn.Module] = []
    at, channels = 0, 1
    for dilation, width, out in (*((d, 3, size) for d in _MESHNET_DILATIONS), (1, 1, 3)):
        count = width**3 * channels * out
        kernel = values[at : at + count].reshape(width, width, width, channels, out)
        bias = values[at + count : at + count + out]
        layers += [_convolution(kernel.permute(4, 3, 0, 1, 2), bias, dilation), activation()]
        at, channels = at + count + out, out
    if at != len(values):
        raise SystemExit(f"{path} holds {len(values)} values; legal: a MeshNet of three classes")
    return nn.Sequential(*layers[:-1])


def _root(a: int, b: int, c: int) -> int:
    """The positive root of a x² + b x + c, rounded."""
    return round((-b + (b * b - 4 * a * c) ** 0.5) / (2 * a))


def robust_tissue(path: Path) -> nn.Sequential:
    """The network of any contrast, an encoder and decoder with one halving of the resolution.

    Parameters
    ----------
    path : Path
        A state dict whose keys count convolutions and the activations between them. After the
        transposed convolution there is no activation.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    numbers = sorted({int(key.partition(".")[0]) for key in state})
    layers: list[nn.Module] = []
    for k, number in enumerate(numbers):
        weight, bias = state[f"{number}.weight"], state[f"{number}.bias"]
        if k == _RESTORING:
            given, made, width = weight.shape[:3]
            up = nn.ConvTranspose3d(given, made, width, stride=2)
            up.weight.data, up.bias.data = weight, bias  # type: ignore[union-attr]
            layers.append(up)
            continue
        last = k == len(numbers) - 1
        dilation = 1 if last else _TISSUE_DILATIONS[k - (k > _RESTORING)]
        layers.append(_convolution(weight, bias, dilation, stride=2 if k == _HALVING else 1))
        if not last:
            layers.append(nn.SiLU(inplace=True))
    return nn.Sequential(*layers)


def mindgrab(path: Path) -> nn.Sequential:
    """The network of brain extraction, whose channels are normalised over the whole field."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    depth = len(_MINDGRAB_DILATIONS)
    layers: list[nn.Module] = []
    for k, dilation in enumerate(_MINDGRAB_DILATIONS):
        weight = state[f"model.{k}.0.weight"]
        layers += [_convolution(weight, None, dilation), nn.InstanceNorm3d(len(weight)), nn.GELU()]
    last = _convolution(state[f"model.{depth}.weight"], state[f"model.{depth}.bias"], 1)
    return nn.Sequential(*layers, last)


@dataclass(frozen=True)
class _Turned:
    """An array in the order LIA, and the way back to the order in which it was stored."""

    turn: np.ndarray
    back: np.ndarray
    array: np.ndarray
    affine: np.ndarray

    @classmethod
    def of(cls, array: np.ndarray, affine: np.ndarray) -> _Turned:
        own, wanted = nib.io_orientation(affine), axcodes2ornt(AXES)
        turn = ornt_transform(own, wanted)
        placed = affine @ inv_ornt_aff(turn, array.shape)
        turned = np.ascontiguousarray(apply_orientation(array, turn))
        return cls(turn, ornt_transform(wanted, own), turned, placed)

    def undone(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(apply_orientation(array, self.back))


def lattice(image: Volume | LabelVolume) -> LabelVolume:
    """An empty label map over the field of view of an image: 1 mm, its axes in the order LIA.

    An image with such voxels keeps its own lattice.
    """
    steps = np.array(image.spacing)
    shape, affine = np.array(image.shape), np.array(image.affine)
    if (abs(steps - 1) > _SAME).any():
        wanted = np.maximum(np.round(shape * steps), 1).astype(int)
        affine[:3, :3] /= steps
        # The outer edges of both lattices coincide, as far as whole voxels allow.
        affine[:3, 3] += image.affine[:3, :3] @ ((wanted / steps - shape) / -2)
        affine[:3, 3] += affine[:3, :3] @ np.full(3, 0.5) - image.affine[:3, :3] @ np.full(3, 0.5)
        shape = wanted
    turned = _Turned.of(np.zeros(shape, np.int16), affine)
    return LabelVolume(turned.array, turned.affine)


def on_field(array: np.ndarray, field: int) -> np.ndarray:
    """Intensities ≥ 0 on [0, 1] by their quantiles in a field of this many voxels.

    Parameters
    ----------
    array : float array, shape (I, J, K)
        Air is 0.
    field : int
        Voxels of the field. Those that the array lacks are air.
    """
    lacking = max(0, field - array.size)
    ordered = np.sort(array, axis=None)
    low, high = (
        ordered[max(0, round(q * (lacking + array.size - 1)) - lacking)]
        if q * (lacking + array.size - 1) >= lacking
        else 0.0
        for q in QUANTILES
    )
    if high <= low:
        return np.zeros_like(array)
    return np.clip((array - low) / (high - low), 0, 1).astype(np.float32)


class ForeignNetwork(Segmenter):
    """A network that others trained, on a field as its own tool gives it.

    Parameters
    ----------
    folder : Path
        That holds the weights.
    margin : int, optional
        Voxels of air around the head that the network sees, in place of the whole field.
        For MeshNet 16 voxels change hardly a label (Dice with a margin of 32 voxels 0.997 in grey
        and 0.999 in white matter).
    cache : Path, optional
        A folder in which results are kept, to be used again for the same image.
    """

    file: ClassVar[str]
    values: ClassVar[dict[int, Label]]
    """Of each class of the network but the background, the label that it gets here."""

    def __init__(self, folder: Path, margin: int | None = None, cache: Path | None = None) -> None:
        self.name, self.path = folder.name, folder / self.file
        self.margin, self.cache = margin, cache
        self.labels = (TISSUES[0], *self.values.values())
        self._network: nn.Module | None = None
        if not self.path.is_file():
            raise SystemExit(f"{self.path} is not there; legal: the weights of {self.name}")
        self._weights = hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with its weights: (1, 1, I, J, K) in [0, 1] → (1, classes, I, J, K)."""

    def load(self) -> None:
        if self._network is None:
            # On a CPU this order of the memory halves the time of these convolutions.
            self._network = self.build().eval().to(memory_format=torch.channels_last_3d)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "model": self._weights, "margin": self.margin}

    def segment(
        self, volume: Volume, mask: np.ndarray | None = None, share: float = 1.0
    ) -> Segmentation:
        """Label a volume, on its own grid.

        Parameters
        ----------
        volume : Volume
        mask : bool array, shape of the volume, optional
            The brain. What lies outside becomes air. Without it nothing is taken away.
        share : float
            The share of the head that the volume holds if it is a slab. The field from which the
            quantiles are taken is then smaller too.
        """
        array = np.clip(volume.array - background_value(volume), 0, None)
        if mask is not None:
            array = np.where(mask, array, 0)
        single = [axis for axis, n in enumerate(volume.shape) if n == 1]
        affine = np.array(volume.affine)
        for axis in single:
            array = np.repeat(array, _DEPTH, axis)
            affine[:3, 3] -= affine[:3, axis] * (_DEPTH // 2)
        image = Volume(array, affine)
        grid = lattice(image)
        on_grid = (
            resample_onto(image, grid)
            if (abs(np.array(image.spacing) - 1) > _SAME).any()
            else image.with_array(_Turned.of(array, affine).array, affine=grid.affine)
        )
        found = self._labelled(on_field(on_grid.array, round(FIELD**3 * share)))
        labels = LabelVolume(found, grid.affine, self.labels)
        return Segmentation(resample_onto(labels, volume))

    def _labelled(self, image: np.ndarray) -> np.ndarray:
        """Labels of an image in the order LIA, shape (I, J, K), in [0, 1]."""
        path = None
        if self.cache is not None:
            key = hashlib.sha256(np.ascontiguousarray(image).tobytes())
            key.update(repr((image.shape, self._weights, self.margin)).encode())
            path = self.cache / f"{self.name}-{key.hexdigest()[:24]}.npz"
            if path.is_file():
                return np.load(path)["labels"].astype(np.int16)
        labels = self._run(image)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, labels=labels.astype(np.uint8))
        return labels

    def _run(self, image: np.ndarray) -> np.ndarray:
        self.load()
        assert self._network is not None
        inside, around = _window(image, self.margin)
        seen = np.pad(image[inside], around)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(seen))[None, None]
            x = x.contiguous(memory_format=torch.channels_last_3d)
            classes = self._network(x)[0].argmax(0).numpy()
        own = tuple(slice(a, a + n) for (a, _), n in zip(around, image[inside].shape, strict=True))
        found = np.zeros(image.shape, np.int16)
        part = found[inside]
        for value, label in self.values.items():
            part[classes[own] == value] = label.value
        return found


def _window(
    image: np.ndarray, margin: int | None
) -> tuple[tuple[slice, ...], list[tuple[int, int]]]:
    """The box of an image that is not air, and the air to be added before and after it.

    The size with the air is even. Without a margin it is that of the field, or of the box if that
    is larger.
    """
    where = np.argwhere(image > 0)
    if not len(where):
        where = np.zeros((1, 3), int)
    inside, around = [], []
    for low, high in zip(where.min(0), where.max(0) + 1, strict=True):
        size = int(high - low)
        total = max(FIELD, size) if margin is None else size + 2 * margin
        total += total % 2
        before = (total - size) // 2
        inside.append(slice(int(low), int(high)))
        around.append((before, total - size - before))
    return tuple(inside), around


class MeshNet(ForeignNetwork):
    """Grey and white matter in T1: the network of 20 channels (ELU), or of 5 (ReLU)."""

    file = "model.bin"
    values = {1: WHITE, 2: GREY}
    modality = "T1w"

    def build(self) -> nn.Module:
        light = self.name == "model5_gw_ae"
        return meshnet(self.path, nn.ReLU if light else nn.ELU)


class RobustTissue(ForeignNetwork):
    """Grey and white matter in a scan of any contrast."""

    file = "model.pth"
    values = {1: GREY, 2: WHITE}
    modality = None

    def build(self) -> nn.Module:
        return robust_tissue(self.path)


class MindGrab(ForeignNetwork):
    """The brain in a scan of any contrast."""

    file = "model.pth"
    values = {1: BRAIN[1]}
    modality = None

    def build(self) -> nn.Module:
        return mindgrab(self.path)


T1_NETWORKS = ("model20chan3cls", "model5_gw_ae")


def t1_segmenters(
    models: Path, names: Sequence[str] = T1_NETWORKS, cache: Path | None = None
) -> list[MeshNet]:
    """The segmenters of T1 whose folders these are."""
    return [MeshNet(models / "meshnet" / name, margin=16, cache=cache) for name in names]


def any_contrast(models: Path, cache: Path | None = None) -> RobustTissue:
    """The foreign segmenter of any contrast; it needs the whole field."""
    return RobustTissue(models / "sae" / "robust_tissue", cache=cache)


def brain_extraction(models: Path, cache: Path | None = None) -> MindGrab:
    """The foreign brain extraction."""
    return MindGrab(models / "meshnet" / "mindgrab", margin=8, cache=cache)
