"""A page: one HTML file that opens from disk, filled from a template."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from topfive.data.check.phrases import counted, shown
from topfive.data.files import write_whole
from topfive.report.figures import canvas
from topfive.results.provenance import Provenance


def publish(
    path: Path | str,
    template: str,
    names: Sequence[str] = (),
    scripts: Sequence[str] = ("report.js",),
    /,
    **values: object,
) -> Path:
    """Write a template filled with `values` and return its path; no line ends inside one of `names`."""
    path, here = Path(path), Path(__file__).parent
    script = "".join((here / name).read_text(encoding="utf-8") for name in scripts)
    pages = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters |= {"counted": counted, "shown": shown, "unbroken": partial(_unbroken, names)}
    pages.globals["zip"] = zip
    page = pages.get_template(template).render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    write_whole(path, page.encode("utf-8", "backslashreplace"))
    return path


def both(
    prefix: str, draw: Callable[..., Figure], label: str, points: Mapping[str, str] | None = None
) -> tuple[Markup, Markup]:
    """The figure for wide and for narrow screens."""
    return (
        Markup(canvas.svg(draw(), f"{prefix}-wide", label, points)),
        Markup(canvas.svg(draw(narrow=True), f"{prefix}-narrow", label, points)),
    )


def _unbroken(names: Sequence[str], text: str) -> Markup:
    """The text escaped, in which no line ends inside a network's name, an interval, or a number and its unit."""
    short = sorted((str(escape(name)) for name in names if len(name) <= 24), key=len, reverse=True)
    whole = "|".join(
        [
            *map(re.escape, short),
            "Top-[15]",
            "[0-9]+ (?:h|min) [0-9]+ (?:min|s)",
            r"[0-9][0-9.,]*(?:–[0-9.,]*[0-9])?(?: (?:%|ms|times|points|s|min|h))?",
        ]
    )
    return Markup(re.sub(rf"(?<![\w&#-])(?:{whole})(?![\w-])", r'<span class="whole">\g<0></span>', str(escape(text))))


def facts(made: Provenance, source: str = "Images") -> list[tuple[str, str]]:
    """How something was made, as (what, said) pairs; what is not recorded is left out."""
    machine = made.machine
    parts = [
        machine.processor,
        f"{machine.cores} cores" * bool(machine.cores),
        f"{machine.threads} threads" * bool(machine.threads),
        f"{machine.memory_bytes / 1e9:.1f} GB memory" * bool(machine.memory_bytes),
    ]
    said = [
        (source, made.source),
        ("Classes", f"{made.classes:,}" * bool(made.classes)),
        ("Fingerprint", made.fingerprint),
        ("Decoding", made.decoding),
        ("Recipe", made.recipe),
        ("Waiting for images", made.waiting),
        ("Seed", made.seed),
        ("Trained networks", f"each is a model: {made.use}" * bool(made.use)),
        ("Machine", ", ".join(filter(None, parts))),
        ("Arithmetic", ", ".join(filter(None, (machine.device, machine.precision, machine.memory_format)))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items() if version)),
        ("Made", made.made),
    ]
    return [(name, value) for name, value in said if value]
