"""A comparison, measured or of the literature, as a page: the answer, the figure, the table, how it was measured."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from topfive.networks.papers import Winner
from topfive.report import metrics
from topfive.report.figures import canvas, series
from topfive.report.figures import comparison as comparison_figures
from topfive.report.figures import curves as curves_of_figures
from topfive.report.figures import history as history_of_figures
from topfive.report.figures import race as race_figures
from topfive.report.metrics import NOTHING, Metric, NamedError
from topfive.report.pages.page import both, facts, publish
from topfive.results.choosing import Contender
from topfive.results.comparisons import ranked
from topfive.results.provenance import Provenance
from topfive.results.records import ComparisonRow, FailedRow, PublishedRow

R = TypeVar("R", ComparisonRow, PublishedRow)

MARKS = {
    "paper": "seen in the paper's text, or in a quotation of it",
    "derived": "computed from the architecture",
    "author-repo": "published by the authors outside the paper",
    "code": "published with a library's weights",
    "official-quoted": "the challenge's results, as quoted in two places",
    "secondary": "quoted by a third party only",
    "figure-read": "read from a plot by a third party, about one point either way",
    "recalled": "from memory, not verified",
}


def render_measured(path: Path | str, rows: Sequence[ComparisonRow | FailedRow], made: Provenance) -> Path:
    """Write the page of what was measured here and return its path."""
    seen = ranked([row for row in rows if isinstance(row, ComparisonRow)])
    failed = [row for row in rows if isinstance(row, FailedRow)]
    columns = metrics.on_page(metrics.comparison(seen))
    trained = [row for row in seen if row.curve]
    none = [NOTHING] * len(columns)
    raced = [one for one in made.contenders if one.scores]
    return publish(
        path,
        "report.html.j2",
        [row.name for row in rows],
        **_shared(seen, columns, made),
        kind="measured",
        eyebrow=_eyebrow("Measured", made),
        answer=answered(seen, made),
        race=both("race", partial(race_figures.race, raced), "The race") if raced else None,
        contender_columns=metrics.CONTENDERS,
        contenders=[[column.cell(one) for column in metrics.CONTENDERS] for one in by_stay(made.contenders)],
        caption=measured_caption(seen, made),
        failed=[(gid, row, none) for gid, row in zip(series.gids([*seen, *failed])[len(seen) :], failed)],
        curves=both("curves", partial(curves_of_figures.curves, trained), "Training curves") if trained else None,
        history=None,
        errors=(),
        marks={},
        facts=facts(made),
        unread=max((row.unreadable for row in seen), default=0),
    )


def render_published(
    path: Path | str,
    rows: Sequence[PublishedRow],
    made: Provenance,
    *,
    winners: Sequence[Winner] = (),
    human: float | None = None,
    errors: Sequence[NamedError] = (),
) -> Path:
    """Write the page of the literature and return its path; `winners` and `human` draw the history of ILSVRC."""
    # errors on other images than ImageNet's are no rank among those on it: they stand behind
    rows = sorted(rows, key=lambda row: (not row.drawn, -(row.top1 or 0)))
    drawn = partial(history_of_figures.history, winners, human, title="")
    confs = {*(row.conf for row in rows), *(error.conf for _, error in errors)}
    return publish(
        path,
        "report.html.j2",
        [row.name for row in rows],
        **_shared(rows, metrics.filled(metrics.published(rows), rows), made),
        kind="published",
        eyebrow=_eyebrow("What the papers print", made),
        answer=published_answer(rows),
        caption=published_caption(rows),
        failed=(),
        curves=None,
        race=None,
        contenders=(),
        decline=series.decline(winners),
        history=both("history", drawn, "Winners") if winners else None,
        human=human,
        error_columns=metrics.PUBLISHED_ERRORS,
        errors=[[column.cell(row) for column in metrics.PUBLISHED_ERRORS] for row in errors],
        marks={mark: says for mark, says in MARKS.items() if mark in confs},
        facts=facts(made, "Source"),
        unread=0,
    )


def _shared(rows: Sequence[R], columns: Sequence[Metric[R]], made: Provenance) -> dict[str, object]:
    """What both pages show."""
    gids = series.gids(rows)
    spoken = {gid: metrics.spoken(row.name, columns, row) for gid, row in zip(gids, rows, strict=True)}
    return {
        "finding": series.finding(rows),
        "bubbles": both(
            "points", partial(comparison_figures.bubbles, rows, title=""), "Accuracy and operations", spoken
        ),
        "columns": columns,
        "rows": [(gid, row, [column.cell(row) for column in columns]) for gid, row in zip(gids, rows, strict=True)],
        "colours": canvas.COLOURS,
        "command": made.command,
        "disturbed": made.disturbed,
        "notes": made.notes,
        "unreadable": made.unreadable,
    }


def _eyebrow(kind: str, made: Provenance) -> str:
    return " · ".join(part for part in (kind, made.source, made.made) if part)


def measured_caption(rows: Sequence[ComparisonRow], made: Provenance) -> str:
    protocols = " and ".join(sorted({row.protocol for row in rows}))
    images = max((row.images for row in rows), default=0)
    return (
        f"Top-1 of {images:,} validation images ({protocols}); upright lines are 95 % intervals over images"
        " and seeds, small dots the seeds. Area: the"
        f" most memory that one image needs, measured on {made.machine.processor or 'this machine'}. {_line(rows)}"
    )


def published_caption(rows: Sequence[PublishedRow]) -> str:
    left = len(rows) - len(series.drawn(rows))
    absent = f" {left} networks without a Top-1 error or a count are in the table only." if left else ""
    return (
        "Top-1 on the ImageNet validation set, one model each, under the protocol that its source used: filled"
        " bubbles saw one crop of each image, hollow ones more, which helps the accuracy and multiplies the"
        f" operations, shown here for one. Area: parameters. {_line(rows)}{absent}"
    )


def _line(rows: Sequence[series.Point]) -> str:
    every = series.drawn(rows)
    alike = series.alike(every)
    those = f"{series.protocol(alike[0])} networks" if len(alike) < len(every) else "networks"
    return f"The line joins the {those} that none of them beats in both accuracy and operations."


def answer(rows: Sequence[ComparisonRow]) -> str:
    """What a measured comparison answers: the best, what cannot be told from it, and the cheapest of these."""
    if not rows:
        return "No network could be compared."
    best = [row for row in ranked(rows) if row.among_best]
    if not best:
        return "No network can be told from always naming the commonest class: more minutes, images or seeds may help."
    first = best[0]
    seeds = len(first.seeds)
    over = f"the mean of {seeds} seeds" if seeds > 1 else "one training" if first.kind != "shallow" else "trained once"
    said = (
        f"{first.name} classifies {100 * first.top1_accuracy:.1f} % of {first.images:,} images correctly ({over}, 95 % "
        f"interval {metrics.between(first.top1_low, first.top1_high)})"
    )
    if len(rows) == 1:
        return f"{said}, in {_ms(first)} an image on this machine."
    if len(best) == 1:
        others = f"each of the {len(rows) - 1} others" if len(rows) > 2 else "the other network"
        said += f", which is more than {others}; an image takes {_ms(first)} here."
    else:
        fastest = min(best, key=lambda row: row.latency_ms)
        smallest = min(best, key=lambda row: row.memory_inference_bytes)
        alike = ", ".join(row.name for row in best[1:])
        cheapest = (
            f"{fastest.name} is the cheapest of these in time ({_ms(fastest)} an image here) and memory"
            if fastest is smallest
            else f"of these {fastest.name} is the fastest ({_ms(fastest)} an image here), and {smallest.name} takes "
            f"the least memory ({smallest.memory_inference_bytes / 1e6:.0f} MB)"
        )
        said += f", and cannot be told from {alike}; {cheapest}."
    if any(len(row.seeds) < 3 and row.kind != "shallow" for row in rows):
        said += " So few seeds tell little of how far another seed would turn it: --seeds 3."
    return said


def answered(rows: Sequence[ComparisonRow], made: Provenance) -> str:
    """What a comparison or a choice answers, and what it lacks."""
    if made.undecided:
        return f"{made.undecided[0].upper()}{made.undecided[1:]}."
    said = chosen(rows, made) if made.contenders else answer(rows)
    return f"{said} {made.unfinished}".rstrip()


def chosen(rows: Sequence[ComparisonRow], made: Provenance) -> str:
    """What a choice answers: the network that it recommends, and how sure that is."""
    found = next((row for row in rows if row.name == made.recommended and row.among_best), None)
    if found is None:
        return answer(rows)
    of = f"of {len(made.contenders)} networks {found.name} is recommended"
    best, alike = ranked(rows)[0], [row for row in rows if row.among_best]
    accuracy = f"{100 * found.top1_accuracy:.1f} % (95 % interval {metrics.between(found.top1_low, found.top1_high)})"
    said = f"{of[0].upper()}{of[1:]}: {accuracy} of {found.images:,} images right, {_ms(found)} an image here."
    if len(alike) > 1:
        others = [row for row in alike if row is not found]
        above = f" ({best.name} came to {100 * best.top1_accuracy:.1f} %)" if best is not found else ""
        said += (
            f" In this time, with so many images, it cannot be told from {', '.join(row.name for row in others)}{above}"
            ", and it is the fastest of these; more minutes or more images may tell them apart."
        )
    hurried = [one.name for one in made.contenders if one.left and not one.told]
    if hurried:
        said += f" For want of time, not of accuracy, {', '.join(hurried)} left."
    return said


def by_stay(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that stayed longest first."""
    return sorted(contenders, key=lambda one: (bool(one.left), -len(one.scores), -(one.accuracies or [0.0])[-1]))


def _ms(row: ComparisonRow) -> str:
    return f"{series.significant(row.latency_ms, 3)} ms"


def published_answer(rows: Sequence[PublishedRow]) -> str:
    """What the literature answers, in one sentence."""
    seen = series.drawn(rows)
    costed = series.alike(seen)
    front = [costed[i] for i in series.pareto([(row.ops, row.top1 or 0) for row in costed])]
    if len(front) < 2:
        return f"{series.finding(rows)}."
    first, last = front[0], front[-1]
    gained = (last.top1 or 0) - (first.top1 or 0)
    tested = f", all tested by {series.protocol(first)}," if len(costed) < len(seen) else ""
    return (
        f"Of {len(costed)} published networks{tested} {first.name} takes the fewest operations"
        f" ({first.top1:.1f} % Top-1); {last.name}, the most accurate, adds {gained:.1f} points with"
        f" {series.times(last, first)} times as many."
    )
