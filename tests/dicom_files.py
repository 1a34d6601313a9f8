"""DICOM series that tests write: an oblique one of random voxels, and any that a test gives."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
ROWS, COLUMNS, SLICES = 6, 5, 4
# An oblique orientation: directions of the columns' and the rows' index, in LPS.
TURN = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.1, 1, 0.3], [0.2, -0.2, 1]]))[0].T
PIXEL, GAP, ORIGIN = (0.9, 1.1), 2.5, np.array([-30.0, 12, 44])  # distance of columns, of rows


def voxels(seed=0):
    return np.random.default_rng(seed).integers(0, 900, (SLICES, ROWS, COLUMNS)).astype("u2")


def slices(values=None, *, heights=None, shear=(0.0, 0.0), **tags):
    """One header and image for each slice, which `write` stores."""
    values = voxels() if values is None else values
    heights = np.arange(len(values)) * GAP if heights is None else heights
    normal = np.cross(TURN[0], TURN[1])
    study, series = generate_uid(), generate_uid()
    made = []
    for number, (image, height) in enumerate(zip(values, heights, strict=True), start=1):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = MR, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.Modality, one.SeriesNumber, one.SeriesDescription = "MR", 3, "t2 tse"
        one.ImageType, one.InstanceNumber = ["ORIGINAL", "PRIMARY", "M"], number
        one.Rows, one.Columns, one.SamplesPerPixel = *image.shape, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 0
        place = ORIGIN + height * (normal + shear[0] * TURN[0] + shear[1] * TURN[1])
        one.ImagePositionPatient = [f"{x:.6g}" for x in place]
        one.ImageOrientationPatient = [f"{x:.8g}" for x in TURN[:2].ravel()]
        one.PixelSpacing, one.SliceThickness = [PIXEL[1], PIXEL[0]], 2.0
        one.EchoTime, one.RepetitionTime, one.ScanningSequence = 90, 4000, "SE"
        for key, value in tags.items():
            setattr(one, key, value)
        one.PixelData = image.tobytes()
        made.append(one)
    return made


def write(folder: Path, made, *, names=None, compress=False):
    """Write files in a random order of names, so that only the positions tell the order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(5).permutation(len(made))
    for place, one in zip(order, made, strict=True):
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        if compress:
            one.compress(RLELossless)
        name = f"IM{place:04d}" if names is None else names[place]
        one.save_as(folder / name, enforce_file_format=True)
    return folder


def expected_affine():
    sides = (TURN[0] * PIXEL[0], TURN[1] * PIXEL[1], np.cross(TURN[0], TURN[1]) * GAP, ORIGIN)
    affine = np.eye(4)
    affine[:3] = np.diag([-1, -1, 1]) @ np.stack(sides, axis=1)
    return affine
