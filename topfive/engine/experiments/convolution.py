"""Shallow features against learnt ones, as the training set grows."""

from topfive.engine.benchmark.shallow import NAME as SHALLOW
from topfive.engine.experiments.experiment import Experiment, Found, Part
from topfive.networks import get
from topfive.results.experiments import Chart, Series, Table, Verdict, more_accurate

SHARES = (0.1, 0.3, 1.0)
NETWORKS = ("alexnet", "cifar-resnet-20")


def _parts(size: int) -> list[Part]:
    return [Part((SHALLOW, *(get(name) for name in NETWORKS)), f"{share:.0%} of the images", share) for share in SHARES]


def _verdict(found: Found) -> Verdict:
    whole = found.outcomes[f"{1:.0%} of the images"]
    # why not the better of both: which one that is would be read off the same images
    return more_accurate(whole, NETWORKS[1], SHALLOW)


def _charts(found: Found) -> list[Chart]:
    lines = []
    for group, name in enumerate((SHALLOW, *NETWORKS)):
        rows = [(share, outcome.rows.get(name)) for share, outcome in zip(SHARES, found.outcomes.values())]
        seen = [(share * len(found.source.train), row) for share, row in rows if row]
        lines.append(
            Series(
                name,
                tuple(row.top1 for _, row in seen),
                tuple(images for images, _ in seen),
                tuple(row.interval[0] for _, row in seen),
                tuple(row.interval[1] for _, row in seen),
                group,
            )
        )
    return [Chart("What learning the features buys", "Top-1 [%]", tuple(lines), "training images", logarithmic=True)]


def _tables(found: Found) -> list[Table]:
    # why so many: a gradient is 4 operations a pixel, its size and angle 6, its histogram 4, and each of the 9 x 4
    # values of a block of cells takes 3 to be normalised
    hog = 14 * found.size**2 + 3 * 9 * 4 * 9
    head = ("what the table below leaves out", "about [M operations]")
    return [Table("Operations of the features", head, ((f"{SHALLOW}: its features", round(hog / 1e6, 3)),))]


CONVOLUTION = Experiment(
    "convolution",
    "Convolution instead of shallow features",
    "A network that learns its features by convolution classifies images better than a linear classifier on features "
    "that were designed by hand, and the more so the more images there are.",
    "Krizhevsky, Sutskever and Hinton 2012, section 6: 37.5 % Top-1 error where SIFT and Fisher vectors had 45.7 %",
    _verdict,
    _parts,
    _tables,
    _charts,
)
