"""Volume of one modality in, the same anatomy in another out."""

from chiasm.translators.base import NetworkTranslator, RunOptions, Translation, Translator

__all__ = ["NetworkTranslator", "RunOptions", "Translation", "Translator"]
