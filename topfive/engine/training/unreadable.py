"""Images that cannot be read: how many are skipped, and which."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from topfive.data.decoding import Unreadable
from topfive.data.sources import Source
from topfive.errors import DataError, UsageError

MOST_UNREADABLE, MOST_UNREADABLE_SHARE = 20, 0.01  # images skipped: the larger of the two
BAD_FILES = "bad_files.csv"


class TooManyUnreadable(DataError):
    """More images cannot be read than are skipped; `unreadable` says which."""

    def __init__(self, said: str, unreadable: Sequence[Unreadable]) -> None:
        super().__init__(said)
        self.unreadable = unreadable


def most_unreadable(max_bad: str | None, count: int) -> int:
    """How many of `count` images are skipped at most: `N` or `P%`. Raises: UsageError for anything else."""
    if max_bad is None:
        return int(max(MOST_UNREADABLE, MOST_UNREADABLE_SHARE * count))
    number = max_bad.removesuffix("%")
    if not re.fullmatch(r"\d+(\.\d+)?" if number != max_bad else r"\d+", number, re.ASCII):
        raise UsageError(
            f"--max-bad {max_bad!r} is neither a number of images, such as 25, nor a percentage, such as 5%"
        )
    return int(float(number) * count / 100) if number != max_bad else int(number)


def few_enough(source: Source, bad: Sequence[Unreadable], left: Sequence[int] = (), max_bad: str | None = None) -> None:
    """Raises: TooManyUnreadable where more than a few images are unreadable, or none of a split is left."""
    count = len(source.train) + len(source.val)
    most = most_unreadable(max_bad, count)
    if len(bad) > most or not all(left):
        reasons = Counter(error.reason for error in bad).most_common(3)
        why = f"at most {most} are skipped" if all(left) else "none of a part is left"
        way_out = f"; --max-bad {len(bad)} skips them" if all(left) else ""
        raise TooManyUnreadable(
            f"{len(bad)} of the {count} images of {source.name} cannot be read "
            f"({', '.join(f'{n} {reason}' for reason, n in reasons)}), and {why}{way_out}; the first: "
            f"{bad[0].name if bad else ''!r}",
            bad,
        )


def note_unreadable(folder: Path, errors: Iterable[Unreadable]) -> Path:
    """Write which images were skipped and why, one a line; the file's path."""
    path = folder / BAD_FILES
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        # why: a name that begins like a formula would be one in a spreadsheet
        names = ((f"'{error.name}" if error.name[:1] in "=+-@" else error.name, error.reason) for error in errors)
        csv.writer(file).writerows([("path", "reason"), *names])
    return path
