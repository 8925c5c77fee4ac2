"""Counts, shares and names as the findings' sentences say them."""

from collections.abc import Iterable, Sequence

from topfive.data.check.scanning import Seen


def shown(name: str) -> str:
    """A name as it is, or with escapes where it would trouble a terminal or is no text at all."""
    return name if name.isprintable() else ascii(name)[1:-1]


def counted(count: int, what: str) -> str:
    """`1 image`, `1,200 classes`."""
    return f"{count:,} {_plural(what, count)}"


def of_all(count: int, whole: int, what: str) -> str:
    """`12 of 1,000 validation images (1.2 %)`."""
    return f"{count:,} of {whole:,} {_plural(what, whole)} ({percent(count / whole if whole else 0)})"


def _plural(what: str, count: int) -> str:
    if count == 1 or what.startswith("of "):
        return what
    return f"{what}es" if what.endswith("s") else f"{what}s"


def are(what: int | Iterable[object]) -> str:
    """The verb for so many."""
    return "is" if (what if isinstance(what, int) else len(list(what))) == 1 else "are"


def have(what: Sequence[object]) -> str:
    """The verb for so many."""
    return "has" if len(what) == 1 else "have"


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def percent(fraction: float) -> str:
    """A fraction in percent: one digit behind the point, two below 0.1 %."""
    return f"{100 * fraction:.{2 if 0 < fraction < 0.001 else 1}f} %"


def points(fraction: float) -> str:
    """A fraction in percentage points."""
    return percent(fraction).replace("%", "points")


def size(image: Seen) -> str:
    """`640x480`."""
    return f"{image.width}x{image.height}"
