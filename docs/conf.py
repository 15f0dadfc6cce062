"""The site: `make docs` builds it into build/docs, without the network."""

import logging
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import generate  # noqa: E402
from generate._links import link_names  # noqa: E402

import dropjax  # noqa: E402

project = "dropjax"
author = "The dropjax authors"
copyright = author  # noqa: A001
version = release = dropjax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_codeautolink",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
nitpicky = True
# Names in annotations that other projects document, and type variables.
nitpick_ignore_regex = [(r"py:.*", r"(?!dropjax\.|(Key|Rate)Like).*|dropjax\._.*")]
# A section may have no pages of its own yet.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: "didn't match any documents" not in record.msg
)

# Pages.
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

# Every notebook runs, and an error fails the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # By default from a CDN.

# The reference.
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
python_maximum_signature_line_length = 60
toc_object_entries_show_parents = "hide"
viewcode_line_numbers = True
codeautolink_global_preface = """
import jax
import jax.numpy as jnp
import numpy as np
import dropjax
from dropjax import *
"""

html_theme = "pydata_sphinx_theme"
html_title = "dropjax"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_context = {"default_mode": "auto"}  # Light or dark, as the browser is.
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def adapt_links(app: Any, docname: str, source: list[str]) -> None:
    """Links to files of the repository become links to pages of the site."""
    path = generate.HERE / f"{docname}.md"
    if path.exists() and docname.split("/")[0] not in generate.GENERATED:
        source[0] = generate.relink(source[0], path, path)


def setup(app: Any) -> None:
    """Writes the generated pages before Sphinx looks for pages."""
    generate.write_all()
    app.connect("source-read", adapt_links)
    app.connect("doctree-read", link_names)
    event = "autodoc-process-docstring"
    # Before napoleon, which reads the sections, and after it.
    app.connect(event, generate.process_docstring, priority=400)
    app.connect(event, generate.process_property, priority=600)
    app.connect("autodoc-process-signature", generate.process_signature)
