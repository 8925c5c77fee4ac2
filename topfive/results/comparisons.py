"""What a comparison comes to: trials become rows, and rows an answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from topfive.errors import DataError
from topfive.results.records import Benchmark, ComparisonRow, Scores, TrialRecord
from topfive.results.significance import LEVEL, Right, Spread, mean_interval, not_told_apart, spreads, unpacked


class Candidate(msgspec.Struct, frozen=True):
    """What a row says of its network before anything is trained."""

    key: str  # of the network's value, its size, what it starts from and what it is trained by
    name: str
    family: str
    kind: str  # network, module (a user's own) or shallow
    size: int
    start: str
    protocol: str
    params: int
    macs: int
    counted_by: str
    recipe: str
    notes: tuple[str, ...] = ()


Trials = Mapping[str, Sequence[TrialRecord]]  # by the candidate's key, in the order of the seeds


def rows(
    candidates: Sequence[Candidate], benchmarks: Mapping[str, Benchmark], trials: Trials, chance: float
) -> list[ComparisonRow]:
    """The rows of the candidates that were timed and have a trial; `chance` is the share of the commonest class.

    Raises: DataError where the trials were not scored on the same images.
    """
    seen = [one for one in candidates if one.key in benchmarks and one.key in trials]
    right = {one.key: rights(trials[one.key]) for one in seen}
    if len({each.shape[1] for each in right.values()}) > 1:
        raise DataError("the networks were scored on different images: give another --out")
    # why not the shallow one: it comes to the same with every seed
    trained = [one.key for one in seen if one.kind != "shallow"]
    known = spreads({key: right[key] for key in trained})
    known5 = spreads({key: rights(trials[key], five=True) for key in trained})
    made = [_row(one, benchmarks[one.key], trials[one.key], known.get(one.key), known5.get(one.key)) for one in seen]
    # why so sure: of many networks that learn nothing, one is above chance by chance
    level = LEVEL / max(1, len(seen))
    learnt = {key for key, each in right.items() if mean_interval(each, known.get(key), level)[0] > chance}
    made = [msgspec.structs.replace(row, trained=row.trained and row.key in learnt) for row in made]
    best = not_told_apart({row.key: right[row.key] for row in made if row.trained}, known)
    return [msgspec.structs.replace(row, among_best=row.key in best) for row in made]


def _row(
    candidate: Candidate,
    benchmark: Benchmark,
    trials: Sequence[TrialRecord],
    spread: Spread | None,
    spread5: Spread | None,
) -> ComparisonRow:
    right = rights(trials)
    low1, high1 = mean_interval(right, spread)
    images = trials[0].scores.images
    of_five = [trial.scores.top5_accuracy for trial in trials]
    top5 = None if None in of_five else _mean([value for value in of_five if value is not None])
    low5, high5 = (None, None) if top5 is None else mean_interval(rights(trials, five=True), spread5)
    params = candidate.params or trials[0].params
    # why: a sum for each class of products with each feature, and the bias
    macs = candidate.macs or params
    joules = [trial.joules for trial in trials if trial.joules is not None]
    stuck = [trial.seed for trial in trials if trial.stuck]
    named = ", ".join(map(str, stuck))
    notes = dict.fromkeys([*candidate.notes, *(note for trial in trials for note in trial.notes)])
    if stuck and len(stuck) < len(trials):
        notes[f"with seed {named} its loss stayed where it began"] = None
    folders = tuple(trial.trial for trial in trials)
    # why the first of the best: it is what `predict` is to be given
    best = max(trials, key=lambda trial: trial.scores.correct1)
    return ComparisonRow(
        name=candidate.name,
        family=candidate.family,
        kind=candidate.kind,
        top1_accuracy=float(right.mean()),
        top1_low=low1,
        top1_high=high1,
        top5_accuracy=top5,
        top5_low=low5,
        top5_high=high5,
        images=images,
        unreadable=trials[0].scores.unreadable,
        protocol=candidate.protocol,
        params=params,
        macs=macs,
        ops=2 * macs,
        counted_by=candidate.counted_by,
        **msgspec.structs.asdict(benchmark),
        training_seconds=_mean([trial.training_seconds for trial in trials]),
        epochs=_mean([trial.epochs for trial in trials]),
        learning_rate=trials[0].learning_rate,
        precision=trials[0].precision,
        memory_format=trials[0].memory_format,
        data_wait=_mean([trial.data_wait for trial in trials]),
        curve=_mean_curve([trial.curve for trial in trials]),
        key=candidate.key,
        trial=best.trial,
        notes=tuple(notes),
        size=candidate.size,
        recipe=candidate.recipe,
        start=candidate.start,
        seeds=tuple(trial.seed for trial in trials),
        accuracies=tuple(trial.scores.top1_accuracy for trial in trials),
        trained=2 * len(stuck) <= len(trials),
        trials=folders if any(folders) else (),
        weight_bytes=4 * params,
        training_peak_bytes=max((trial.peak_bytes or 0 for trial in trials), default=0) or None,
        joules=_mean(joules) if joules else None,
    )


def ranked(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The best first; those that did not train behind all others."""
    return sorted(rows, key=lambda row: (not row.trained, -row.top1_accuracy))


def rights(trials: Sequence[TrialRecord], five: bool = False) -> Right:
    """Which validation images were right, `(seeds, images)`; those among the first five with `five`.

    Raises: DataError where the trials were not scored on the same images.
    """
    if len({(trial.scores.images, trial.scores.unreadable) for trial in trials}) > 1:
        raise DataError("images became unreadable between two trials, whose accuracies cannot be compared any more")
    return np.stack([_bits(trial.scores, five) for trial in trials])


def _bits(scores: Scores, five: bool) -> Right:
    return unpacked(scores.right5 if five else scores.right, scores.images)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_curve(curves: Sequence[tuple[dict[str, float], ...]]) -> tuple[dict[str, float], ...]:
    """Point by point over the seeds, as far as all have them."""
    return tuple({name: _mean([point[name] for point in points]) for name in points[0]} for points in zip(*curves))


class _Failed(msgspec.Struct, frozen=True):
    failed: str | None = None


class _Printed(msgspec.Struct, frozen=True):
    rows: tuple[msgspec.Raw, ...]


def read_rows(path: Path) -> list[ComparisonRow]:
    """The rows that `compare --format json` printed into a file, without networks that failed. Raises: DataError."""
    try:
        printed = msgspec.json.decode(path.read_bytes(), type=_Printed).rows
        good = [row for row in printed if not msgspec.json.decode(row, type=_Failed).failed]
        return [msgspec.json.decode(row, type=ComparisonRow) for row in good]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise DataError(
            f"{path} is not what 'topfive compare --format json' prints ({error}): write it with > FILE.json"
        ) from None
