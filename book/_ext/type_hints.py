"""Sphinx extension: a type hint may name a class that the API page leaves out.

The build treats a dead link as an error. That is right for links that somebody wrote; the ones
Sphinx makes from annotations stay plain text where there is nothing to link to.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def _plain_text(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element
) -> nodes.Element | None:
    written = "refwarn" in node  # set by the roles of the text, never on what comes from a hint
    return text if node.get("refdomain") == "py" and not written else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the handler; Sphinx calls this."""
    app.connect("missing-reference", _plain_text)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
