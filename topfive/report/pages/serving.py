"""The pages of `topfive serve`: one to try a model with, one of the HTTP interface; neither needs anything else."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def pages(openapi: Mapping[str, object], most_bytes: int) -> dict[str, tuple[str, str]]:
    """Each page by its path: its HTML, and the Content-Security-Policy that lets it do what it does and no more."""
    return {
        "/": _page("serve.html.j2", "serve.js", most_bytes=most_bytes),
        "/docs": _page("serve_docs.html.j2", None, paths=openapi["paths"]),
    }


def _page(template: str, script_file: str | None, **values: object) -> tuple[str, str]:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = "".join((HERE / name).read_text("utf-8") for name in ("report.css", "serve.css"))
    script = (HERE / script_file).read_text("utf-8") if script_file else ""
    html = environment.get_template(template).render(style=Markup(style), script=Markup(script), **values)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; img-src 'self' blob: data:; connect-src 'self'; "
        + (f"script-src {_hash(script)}; " if script else "")
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
