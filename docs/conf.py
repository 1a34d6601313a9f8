"""Configuration of the documentation site; `make docs` builds it without a network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_ext")]

import api_pages  # noqa: E402

import chiasm  # noqa: E402
import results  # noqa: E402

# The result tables, the list of models and the API pages are written anew at every build.
results.write_pages(HERE / "results")
results.write_cards(HERE / "models")
api_pages.write(HERE / "api")

project = "Chiasm"
author = "The Chiasm authors"
copyright = "The Chiasm authors, Apache-2.0"
version = release = chiasm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "docstrings", "mathml", "figures"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

exclude_patterns = ["_build"]
default_role = "py:obj"
# One function may be documented where it lives and where users import it from.
suppress_warnings = ["ref.python"]

autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
# Docstrings of other libraries are not ours to format.
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "Chiasm"
html_static_path = ["_static"]
html_css_files = ["chiasm.css"]
html_copy_source = False
html_show_sphinx = False
