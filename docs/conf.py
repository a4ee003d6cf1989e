"""How the pages are built: `make docs`."""

import sys
from pathlib import Path

import concord

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Concord"
author = "The Concord authors"
project_copyright = author
version = release = concord.__version__

extensions = ["sphinx.ext.autodoc", "myst_parser", "api", "methods", "plain"]
exclude_patterns = ["_build", "_ext"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# An attribute called `bytes` is no rival of the type of that name.
suppress_warnings = ["ref.python"]
maximum_signature_line_length = 88

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Concord {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
