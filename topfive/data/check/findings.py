"""What may be wrong with images: each finding in a sentence, and in another what it would do, with figures.

An evaluation would be biased where validation images are in training too, exactly or as a copy, where a validation
image is found under another label too, and where validation images cannot be read. Images that are only probably
copies, or only look alike, bias nothing that is known: they are noted.
"""

from collections.abc import Callable, Iterator

from topfive.data.check.classes import folders, unbalanced, unreadable, untested
from topfive.data.check.copies import alike_across, exact_across, exact_inside, near_across, near_inside, two_labels
from topfive.data.check.evidence import BIASES, HARMS, NOTE, Copies, Finding, Look
from topfive.data.check.formats import noted, sizes, telling


def found(look: Look, copies: Copies) -> tuple[Finding, ...]:
    """Every finding, those that bias an evaluation first."""
    order = (BIASES, HARMS, NOTE)
    every = [finding for find in FINDERS for finding in find(look, copies)]
    return tuple(sorted(every, key=lambda finding: order.index(finding.severity)))


FINDERS: tuple[Callable[[Look, Copies], Iterator[Finding]], ...] = (
    exact_across,
    near_across,
    two_labels,
    unreadable,
    exact_inside,
    near_inside,
    alike_across,
    folders,
    unbalanced,
    untested,
    telling,
    sizes,
    noted,
)
