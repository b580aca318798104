"""From the sections to one HTML file."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import anyjepa

TEMPLATES = "templates"


def render(**content: Any) -> str:
    """The page. Whatever comes from the run is escaped, and the browser is told to run and to fetch nothing of it.

    Args:
        **content: what ``templates/page.html`` names.
    """
    environment = Environment(
        loader=PackageLoader("anyjepa.report", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_read(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html").render(
        style=style,
        script=script,
        policy=policy,
        version=anyjepa.__version__,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        **content,
    )


def _read(name: str) -> str:
    return (files("anyjepa.report") / TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
