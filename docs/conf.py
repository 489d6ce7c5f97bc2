"""Sphinx's configuration: `make docs` builds the site, and every warning is an error.

Pages are the Markdown files of this folder. The catalogue's are made from its contracts, and the
reference from docstrings, when the site is built.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "triton-gym"
author = "the authors of triton-gym"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_site", "Thumbs.db"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_ambiguous"]

default_role = "literal"
smartquotes = False  # docstrings hold commands
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True}
# Frameworks of the adapters: they pin against each other, and the site needs none of them.
autodoc_mock_imports = ["mcp", "openenv", "pydantic", "ray", "skyrl_gym", "verifiers", "verl"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "triton-gym"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "default"
pygments_dark_style = "github-dark"

# Nothing leaves the machine: of links only those within the site are checked.
linkcheck_ignore = [r"https?://.*"]


def setup(app: Any) -> None:
    """Make the catalogue's pages and the command line's first, and link the catalogue to them."""
    from _site import commands, task_pages

    def make(app: Any) -> None:
        task_pages.write(HERE / "tasks")
        commands.write(HERE / "reference" / "cli.md")

    app.connect("builder-inited", make)
    app.connect("autodoc-process-docstring", _attribute, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _headings)
    app.connect("autodoc-process-docstring", _examples)
    app.connect("source-read", _catalogue)
    app.connect("source-read", _files)
    app.connect("include-read", lambda app, path, page, source: _files(app, page, source))


def _attribute(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in a field's docstring for a type."""
    if what in ("attribute", "data", "property"):
        lines.insert(0, "\\ ")  # an escaped space, which is nothing


def _headings(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Headings of an environment's docstring, which Gymnasium writes as Markdown, in bold."""
    lines[:] = [
        part
        for line in lines
        for part in ([f"**{line[3:]}**", ""] if line.startswith("## ") else [line])
    ]


def _examples(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Indented lines of a module's docstring are code, as they are for who reads the file."""
    if what == "module":
        text = "\n".join(lines)
        lines[:] = re.sub(r"(?m)^(\S.*)\n\n(?=    \S)", r"\1\n\n::\n\n", text).split("\n")


def _catalogue(app: Any, name: str, source: list[str]) -> None:
    """Names of tasks in the catalogue's tables become links, its pages a table of contents."""
    if name == "catalogue":
        row = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
        linked = row.sub(r"| [`\1`](tasks/\1.md) |", source[0])
        source[0] = linked + "\n```{toctree}\n:hidden:\n:glob:\n\ntasks/*\n```\n"


def _files(app: Any, name: str, source: list[str]) -> None:
    """Links to files of the repository that are not in this folder become their names."""
    page = (HERE / name).parent

    def plain(link: re.Match[str]) -> str:
        target = (page / link[2].partition("#")[0]).resolve()
        return link[0] if target.is_relative_to(HERE) else f"`{link[1].strip('`')}`"

    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)]+)\)", plain, source[0])
