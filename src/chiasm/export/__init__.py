"""Models in formats that other programs read: TorchScript, ONNX, and MONAI bundles."""

from chiasm.export.write import FORMATS, Exported, export_model

__all__ = ["FORMATS", "Exported", "export_model"]
