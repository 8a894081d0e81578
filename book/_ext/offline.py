"""Sphinx extension: no page of the book asks another host for anything.

Jupyter Book puts the scripts of thebe, which live on a content network, into every page even where
thebe is off. And it refuses or breaks repository buttons without a repository; here they come
and go with the one address in ``_config.yml``.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config


def _without_thebe(assets: list[Any]) -> list[Any]:
    """Drop the scripts and style sheets that thebe is loaded with."""
    return [
        asset
        for asset in assets
        if "thebe" not in f"{asset.filename} {asset.attributes.get('body', '')}".lower()
    ]


def _clean_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    for kind in ("script_files", "css_files"):
        context[kind] = _without_thebe(context[kind])


def _follow_address(app: Sphinx, config: Config) -> None:
    options = config.html_theme_options
    options["use_repository_button"] = bool(options.get("repository_url"))
    if not options["use_repository_button"]:
        options["launch_buttons"] = {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the two handlers; Sphinx calls this."""
    app.connect("config-inited", _follow_address)
    app.connect("html-page-context", _clean_page, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
