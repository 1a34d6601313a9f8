"""Images: voxel arrays, their position in space, and the meaning of their intensities."""
