"""What can go wrong, as a tree; each branch has the exit code that a shell script can rely on.

A comparison of which networks failed ends with the code of the first failure.

TopfiveError                1   an internal error
├── UsageError              2   an argument, a name or a size that cannot be
├── DataError               3   the images
├── RefusedError            4   a model or checkpoint that is not taken
├── ResourceError           5   memory, disk, permission
├── DivergedError           6   training that stopped making sense
└── Interrupted           130   stopped from outside; what was finished is kept
    └── Terminated        143   the same, by a scheduler
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TopfiveError(Exception):
    """One plain sentence for the user, and the exit code that goes with it."""

    exit_code = 1


class UsageError(TopfiveError):
    exit_code = 2


class DataError(TopfiveError):
    exit_code = 3


class RefusedError(TopfiveError):
    exit_code = 4


class ResourceError(TopfiveError):
    exit_code = 5


class DivergedError(TopfiveError):
    exit_code = 6


class Interrupted(TopfiveError):
    exit_code = 130


class Terminated(Interrupted):
    exit_code = 143


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A clause naming the nearest known words, or nothing where none is near."""
    near = get_close_matches(wrong.lower(), list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
