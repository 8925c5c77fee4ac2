"""VGG. Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.

The idea: nothing but 3x3 filters, stacked deep: two see what one 5x5 sees, three what one 7x7 sees, with fewer weights
and more nonlinearities. The table is Table 1 (arXiv 1409.1556), a column a configuration.
"""

from topfive.networks.alexnet import torchvision
from topfive.networks.layers import Chain, Conv, Dropout, Glorot, Layer, Linear, Network, Pool, Relu, ResponseNorm
from topfive.networks.papers import Claim

# fmt: off
#        3x3 unless `x1`, which is 1x1; a max pool ends every block   |  depth
TABLE = {
  "a":     ("64",      "128",     "256 256",         "512 512",         "512 512",          11),
  "a-lrn": ("64 lrn",  "128",     "256 256",         "512 512",         "512 512",          11),
  "b":     ("64 64",   "128 128", "256 256",         "512 512",         "512 512",          13),
  "c":     ("64 64",   "128 128", "256 256 256x1",   "512 512 512x1",   "512 512 512x1",    16),
  "d":     ("64 64",   "128 128", "256 256 256",     "512 512 512",     "512 512 512",      16),
  "e":     ("64 64",   "128 128", "256 256 256 256", "512 512 512 512", "512 512 512 512",  19),
}
# fmt: on

CLAIMS = {f"vgg-{c}": [Claim("", "depth", str(row[-1]), "Table 1")] for c, row in TABLE.items()}
ERRATA: dict[tuple[str, str, str], str] = {
    ("vgg-d", "", "macs"): (
        "The ResNet paper's 15.3 billion leaves out the fully connected layers: the convolutions alone take "
        "15.35 G, all layers 15.47 G; its 19.6 billion for VGG-19 includes them."
    )
}
_INIT = (
    "Initial weights are Glorot's, which the paper's footnote found to replace its staged training from network A; "
    "`train --recipe vgg --start RUN_OF_A` is the staged one."
)
DIFFERS = {f"vgg-{configuration}": [_INIT] for configuration in TABLE}


def timm(network: Network) -> tuple[tuple[str, str], ...]:
    """timm's names for our rows. fc6 and fc7 are convolutions there, 7x7 and 1x1, over the same values in one order."""
    classifier = ("fc6.", "pre_logits.fc1."), ("fc7.", "pre_logits.fc2."), ("fc8.", "head.fc.")
    return (*classifier, *torchvision(network))


def vgg(configuration: str) -> Network:
    """Configuration a, a-lrn, b, c, d or e of Table 1. `(3, 224, 224) -> (1000,)`."""
    layers: list[tuple[str, Layer]] = []
    for block, row in enumerate(TABLE[configuration][:5], start=1):
        for n, word in enumerate(str(row).split(), start=1):
            if word == "lrn":
                layers += [(f"norm{block}", ResponseNorm())]  # paper: section 3, AlexNet's constants
                continue
            filters, _, size = word.partition("x")
            kernel = Conv(int(filters), 1) if size == "1" else Conv(int(filters), 3, pad=1)
            layers += [(f"conv{block}_{n}", kernel), (f"relu{block}_{n}", Relu())]
        layers += [(f"pool{block}", Pool("max", 2, 2))]
    for name in ("6", "7"):
        layers += [(f"fc{name}", Linear(4096)), (f"relu{name}", Relu()), (f"drop{name}", Dropout(0.5))]
    layers += [("fc8", Linear(1000))]
    name = f"vgg-{configuration}"
    return Network(name, name, (3, 224, 224), Chain(tuple(layers)), init=Glorot())
