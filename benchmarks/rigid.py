"""A rigid registration of two scans of one head by mutual information, with SimpleITK."""

from __future__ import annotations

import numpy as np

from brain_mask import itk_image
from chiasm.image.volume import Volume

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def aligned(moving: Volume, fixed: Volume, seed: int = 0) -> Volume:
    """The moving scan in the space of the fixed one.

    Only its affine changes, so that no voxel is interpolated.

    Parameters
    ----------
    moving, fixed : Volume
        Of one head, of any modalities, roughly in place.
    seed : int
        Of the voxels that are drawn for the metric.
    """
    import SimpleITK as sitk

    still, image = itk_image(fixed.array, fixed.affine), itk_image(moving.array, moving.affine)
    transform = sitk.CenteredTransformInitializer(
        still, image, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(still, image)
    # ITK's transform takes points of the fixed scan to points of the moving one.
    forth = np.eye(4)
    for k in range(4):
        point = np.eye(4)[k, :3]
        place = np.array(transform.TransformPoint(point.tolist()))
        forth[:3, k] = place
    forth[:3, :3] -= forth[:3, 3:]
    back = np.linalg.inv(_TO_LPS @ forth @ _TO_LPS)
    return Volume(moving.array, back @ moving.affine, modality=moving.modality)
