"""Configuration of the documentation."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx_astropy.conf.v2 import *  # noqa: F403
from sphinx_astropy.conf.v2 import extensions, intersphinx_mapping

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
# Its settings are documented; nothing of it needs Horovod for that.
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "astro-deepgalaxy-horovod"))

project = "astro_deepgalaxy"
author = "the astro_deepgalaxy developers"
copyright = f"2026, {author}"
release = installed_version("astro-deepgalaxy")
version = ".".join(release.split(".")[:2])

extensions = [*extensions, "definition_tables", "sphinx_click"]
# Cross-references to other projects need the network: only where the pages are published.
if os.environ.get("READTHEDOCS") != "True":
    intersphinx_mapping.clear()

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "astro_deepgalaxy"},
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
}
html_static_path = ["_static"]
html_sidebars = {"**": []}
html_title = f"astro_deepgalaxy {version}"
exclude_patterns = ["_build", "_templates"]
numpydoc_show_class_members = False
default_role = "obj"
smartquotes = False  # they make one dash of the two before an option
suppress_warnings = ["app.add_directive"]


def setup(app):
    """Keep the asterisks of file patterns in the help texts of commands."""

    def escape(app, context, lines):
        lines[:] = [line.replace("*", r"\*") for line in lines]

    app.connect("sphinx-click-process-description", escape)
