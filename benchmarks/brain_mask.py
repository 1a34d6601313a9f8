"""Where the brain is in the T1 of a whole head: the brain of a digital subject is laid on it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from chiasm.image.volume import Volume
from chiasm.phantom import Settings, subject

# ITK counts millimetres to the left and back, NIfTI to the right and front.
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MARGIN = 4.0  # mm


def brain_mask(t1: Volume, seed: int = 0) -> np.ndarray:
    """A bool array on the scan's grid, without the brain's outermost layer.

    A digital subject with a head is registered to the scan by mutual information, rigidly at
    first and then with twelve parameters. The error is some mm. A margin therefore keeps the
    scalp out, whose fat would set the range of intensities.
    """
    import SimpleITK as sitk

    digital = subject(seed, Settings(modalities=("T1w",), spacing=2, head=True))
    head, labels = digital.volumes["T1w"], digital.labels
    fixed, moving = itk_image(t1.array, t1.affine), itk_image(head.array, head.affine)
    inside = itk_image(labels.array > 0, labels.affine)
    transform = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    for kind in (sitk.Euler3DTransform, sitk.AffineTransform):
        start = transform
        if kind is sitk.AffineTransform:
            start = sitk.AffineTransform(3)
            start.SetCenter(transform.GetCenter())
            start.SetMatrix(transform.GetMatrix())
            start.SetTranslation(transform.GetTranslation())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.2, seed + 1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsGradientDescentLineSearch(1.0, 100, 1e-6, 10)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2])
        method.SetSmoothingSigmasPerLevel([4, 2])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(start, inPlace=True)
        method.Execute(fixed, moving)
        transform = start
    found = sitk.Resample(inside, fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    brain = sitk.GetArrayFromImage(found).transpose(2, 1, 0) > 0.5
    return ndimage.distance_transform_edt(brain, t1.spacing) > _MARGIN


def itk_image(array: np.ndarray, affine: np.ndarray) -> object:
    """The image as ITK has it: its axes in reverse, its millimetres to the left and to the back."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0), np.float32))
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(steps.tolist())
    image.SetOrigin((_TO_LPS @ affine[:3, 3]).tolist())
    image.SetDirection((_TO_LPS @ (affine[:3, :3] / steps)).ravel().tolist())
    return image
