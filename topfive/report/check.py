"""What `topfive data check` found, for people: the verdict in words, the findings and the classes as tables."""

from topfive.data.check.checking import ClassCount, Report
from topfive.data.check.evidence import HARMS, NOTE
from topfive.data.check.phrases import counted, shown
from topfive.report.tables import Column, Row, Section


def answer(report: Report) -> str:
    """The verdict, in one sentence."""
    if report.biased:
        return f"An accuracy measured on {report.name} would be biased: {worst(report)}."
    harms = [finding for finding in report.findings if finding.severity == HARMS]
    if harms:
        return f"Nothing in {report.name} would bias an accuracy, but this would harm training: {worst(report)}."
    return f"Nothing was found in {report.name} that would bias an accuracy or harm training."


def worst(report: Report) -> str:
    """The gravest finding in a sentence, and how many more are as grave; nothing where nothing was found."""
    if not report.findings:
        return ""
    first = report.findings[0]
    more = sum(finding.severity == first.severity for finding in report.findings) - 1
    return first.sentence + (f", and {counted(more, 'more finding')} of this severity" if more else "")


def rows(report: Report) -> list[Row]:
    """A row a finding, with the paths of its first examples."""
    return [
        {
            "severity": finding.severity,
            "kind": finding.kind,
            "images": finding.count,
            "sentence": finding.sentence,
            "consequence": finding.consequence,
            "examples": "; ".join(" = ".join(example.paths) for example in finding.examples[:5]) or None,
        }
        for finding in report.findings
    ]


FINDING_COLUMNS = (
    Column("severity", "severity", right=False),
    Column("sentence", "finding", right=False, wraps=True),
    Column("consequence", "effect", right=False, wraps=True),
)
CLASS_COLUMNS = (
    Column("name", "class", right=False),
    Column("words", "class name", right=False, wraps=True),
    Column("train", "training", "{:,}".format),
    Column("val", "validation", "{:,}".format),
    Column("unreadable", "unreadable", lambda count: f"{count:,}" if count else ""),
    Column("copies", "copies", lambda count: f"{count:,}" if count else ""),
)


def sections(report: Report, most: int = 20) -> list[Section]:
    """The same for people: the verdict, the findings, a few of their images, the classes (`most` of them)."""
    low, middle, high = report.shorter
    formats = ", ".join(f"{share.train + share.val:,} {share.name}" for share in report.formats)
    said = [
        answer(report),
        f"{report.train:,} training and {report.val:,} validation images of {len(report.classes):,} classes; "
        f"shorter sides {low:,} to {high:,} pixels, the median {middle:,}; {formats or 'none can be read'}.",
    ]
    if report.not_compared:
        said.append(f"Near duplicates were not searched among: {report.not_compared}.")
    parts = [Section(report.name, said)]
    if report.findings:
        parts.append(Section("Findings", (), rows(report), FINDING_COLUMNS))
    for finding in report.findings:
        if finding.examples and finding.severity != NOTE:
            some = [" = ".join(one.paths) + (f": {one.says}" if one.says else "") for one in finding.examples[:3]]
            more = ["more of them on the page"] if len(finding.examples) > 3 else []
            parts.append(Section(finding.kind.capitalize(), points=[*some, *more]))
    classes = sorted(report.classes, key=lambda one: -one.train)
    title = "Classes"
    if len(classes) > most:
        classes = [*classes[: most // 2], *classes[-most // 2 :]]
        title = f"The {most // 2} largest and the {most // 2} smallest classes"
    parts.append(Section(title, (), [class_row(one) for one in classes], CLASS_COLUMNS))
    return parts


def class_row(one: ClassCount) -> Row:
    """A class as a row, its name safe for a terminal."""
    return {
        "name": shown(one.name),
        "words": shown(one.words) if one.words != one.name else None,
        "train": one.train,
        "val": one.val,
        "unreadable": one.unreadable,
        "copies": one.copies,
    }
