"""The page of the story: the values and the sentences of both languages in one file."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from markupsafe import Markup, escape

from topfive.report.pages.browser import Browser
from topfive.report.pages.page import publish
from topfive.report.story import CALLED, POINTS, Story
from topfive.report.story_facts import facts

Language: TypeAlias = Literal["en", "ko"]
Tables: TypeAlias = dict[str, dict[str, str | dict[str, str]]]

SCRIPTS = (
    "story_elements.js",
    "story_networks.js",
    "story_browser.js",
    "story_field.js",
    "story_figures.js",
    "story.js",
)
LANGUAGES: tuple[Language, ...] = ("en", "ko")
# what no line may end within: ResNet-50, Top-5, 10-crop, a number and its unit with the Korean particle, a formula
WHOLE = re.compile(
    r"(?a:[A-Za-z][\w.]*(?:-\w[\w.]*)+)|\d+-crop|곱셈-덧셈|\d[\d,.]* ?(?:%p?|[MG]B?)(?![A-Za-z])[가-힣]*"
    r"|C = \d+|F\(x\) (?:\+ x|= H\(x\) - x)|\(\d+ - \d+\) / \d+ \+ \d+ = \d+"
)
MARKED = re.compile(r"(`[^`]+`|\[\[[^\]]+\]\])")  # `code` and [[network]]
SIZE = re.compile(r"(?<![\w-])\d+(?:x\d+)+(?![A-Za-z\d-])")  # 3x3, but not the name resnext-50-32x4d


def texts(language: Language) -> Mapping[str, str]:
    """The sentences of a language by their table and key: `points.stack.title`, `page.lead`."""
    path = Path(__file__).with_name(f"story_{language}.toml")
    tables = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Tables)
    found: dict[str, str] = {}
    for table, entries in tables.items():
        for key, value in entries.items():
            parts = {f".{part}": text for part, text in value.items()} if isinstance(value, dict) else {"": value}
            found |= {f"{table}.{key}{part}": text for part, text in parts.items()}
    return found


def korean() -> Mapping[str, str]:
    """The Korean of the sentences that papers.toml and the papers' files have in English."""
    path = Path(__file__).with_name("story_papers_ko.toml")
    return msgspec.convert(tomllib.loads(path.read_text("utf-8"))["sentences"], dict[str, str])


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its {values}. Raises: KeyError for one that there is none of."""
    return re.sub(r"\{([^}]+)\}", lambda found: values[found[1]], text)


def render(path: Path, told: Story, image: str, language: Language, browser: Browser | None = None) -> Path:
    """Write the page and return its path; `image` is a data URI, `language` the one that it opens in.

    With `browser` the page's own script may load those that lie beside it, and nothing else may.
    """
    values = facts(told)
    both = {name: texts(name) for name in LANGUAGES}
    labels = {name: _labels(both[name]) for name in LANGUAGES}
    document = {"story": told, "texts": labels, "sentences": korean(), "image": image, "browser": browser}
    tried = {name: point.key for point in reversed(POINTS) for name in point.experiments}
    return publish(
        path,
        "story.html.j2",
        (),
        SCRIPTS,
        language=language,
        points=POINTS,
        called=CALLED,
        numbers={point.key: n for n, point in enumerate(POINTS, start=1)},
        experiments=told.experiments,
        model=told.model is not None,
        browser=browser,
        effective="stacked-3x3" in told.experiments,
        tried=sorted(tried.items(), key=lambda one: [point.key for point in POINTS].index(one[1])),
        en=_told(both["en"], values),
        ko=_told(both["ko"], {key: value.replace(" %", "%") for key, value in values.items()}),
        has=both["en"].__contains__,
        # why: inside of a script element nothing is unescaped, and a < could end it
        data=Markup(msgspec.json.encode(document).decode().replace("<", "\\u003c")),
    )


def _labels(found: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix("ui."): text for key, text in found.items() if key.startswith("ui.")}


def _told(found: Mapping[str, str], values: Mapping[str, str]) -> Callable[[str], Markup]:
    def told(key: str) -> Markup:
        text = str(escape(found[key] if key.startswith("ui.") else filled(found[key], values)))
        return Markup("".join(map(_set, MARKED.split(text))))

    return told


def _set(part: str) -> str:
    """A part of a sentence as HTML: code, a network or words."""
    if part.startswith("`"):
        return "<code>" + " ".join(map(_whole, part.strip("`").split(" "))) + "</code>"
    if part.startswith("[["):
        name = part.strip("[]")
        return f'<a href="#choice" class="whole" data-network="{name}">{name}</a>'
    sized = SIZE.sub(lambda size: size[0].replace("x", "×"), part)
    return WHOLE.sub(lambda found: _whole(found[0]), sized)


def _whole(text: str) -> str:
    return f'<span class="whole">{text}</span>'
