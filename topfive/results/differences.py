"""Whether two descriptions are of the same run, and in what they differ."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import msgspec

from topfive.errors import UsageError
from topfive.results.training import Stated

MOST_DIFFERENCES = 5
LONGEST = 60  # letters of a value that differs
SAME_IMAGES = ("where", "path", "name", "words", "notes")  # of a source: may differ where the fingerprint does not


def compared(folder: Path, then: Stated, now: Stated, again: bool) -> list[str]:
    """What differs and may, in sentences. Raises: UsageError for what may not."""

    def begun(run: Stated) -> dict[str, object]:
        # why: a run of before the two were recorded does not say what it began with; one with a checkpoint needs not
        known = then.reading is not None and not (again and now.start is None)
        return {"start": run.start.sha256[:8] if run.start else None} if known else {}

    def determining(run: Stated) -> dict[str, object]:
        source = {key: value for key, value in run.source.items() if key not in SAME_IMAGES}
        machines = {"world": run.world, "towers": run.towers}
        parts = {"network": run.network, "recipe": run.recipe, "size": run.size, **machines, "source": source}
        return {**parts, **begun(run)}

    def elsewhere(run: Stated) -> dict[str, object]:
        return {**run.versions, **run.machine, "decoding": run.decoding}

    def otherwise(run: Stated) -> dict[str, object]:
        place = "path" if "path" in then.source and "path" in now.source else "where"
        return {"images in": run.source.get(place), "command": " ".join(run.command)}

    if found := [f"{what} {old} -> {new}" for what, old, new in _differences(determining(then), determining(now))]:
        more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        listed = ", ".join(found[:MOST_DIFFERENCES]) + more
        raise UsageError(f"{folder} was started with other settings: {listed}; {_advice(folder, then, now, again)}")
    inexact, exact = (
        [f"{what} {old} there, {new} now" for what, old, new in _differences(part(then), part(now))]
        for part in (elsewhere, otherwise)
    )
    return [f"{'; '.join(inexact)}: not bit-identical", *exact] if inexact else exact


def _advice(folder: Path, then: Stated, now: Stated, again: bool) -> str:
    """What to do about a run of other settings."""
    if again:
        return "it continues with those alone: give it its own images with --data, or train anew"
    before, after = then.recipe.get("epochs"), now.recipe.get("epochs")
    if isinstance(before, int) and isinstance(after, int) and after > before:
        return (
            f"its schedule ends with epoch {before} and cannot be stretched afterwards: to train its weights further, "
            f"name a new folder and --start {folder}"
        )
    return "name another folder, or use those"


def _differences(old: object, new: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(what, old, new), each for people; of a list the first that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"number of {path}", str(len(old)), str(len(new))
        for at, (one, other) in enumerate(zip_longest(old, new)):
            if one != other:
                yield from _differences(one, other, f"{path}[{at}]")
                break
    elif old != new:
        yield path, *_shown(old, new)


def _shown(old: object, new: object) -> tuple[str, str]:
    """Values that differ, for people: of long ones what is around the first place where they do."""
    one, other = (
        "none" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for value in (old, new)
    )
    if max(len(one), len(other)) <= LONGEST:
        return one, other
    first = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    start = max(0, first - LONGEST // 3)
    one, other = (f"...{text[start:]}" if start else text for text in (one, other))
    one, other = (text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in (one, other))
    return one, other
