"""SENet. Hu, Shen, Albanie, Sun, Wu: Squeeze-and-Excitation Networks, CVPR 2018, TPAMI 2020 (arXiv 1709.01507).

The idea: what a block gives is scaled channel by channel, by a gate that has seen the whole map, at almost no cost.
`squeeze_excite` puts it into any residual network (Fig. 3, Table 1); `senet154` is the winner of 2017, section 5.4.
"""

from msgspec.structs import replace

from topfive.errors import UsageError
from topfive.networks.layers import (
    IDENTITY,
    BatchNorm,
    Chain,
    Conv,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Network,
    Pool,
    Relu,
    Residual,
    SqueezeExcite,
    chain,
    rewrite_network,
)
from topfive.networks.papers import Claim
from topfive.networks.resnet import TABLE, TORCHVISION, WIDTHS, has_residuals, normalised, stages, with_shortcuts

CLAIMS: dict[str, list[Claim]] = {"se-resnet-50": [], "senet-154": []}

ERRATA: dict[tuple[str, str, str], str] = {}

_BIASES = (
    "The two layers of a gate have biases, 16,048 of the parameters, as in the released SENet-154; the paper says that "
    "on ResNets the gates do better without."
)
DIFFERS = {
    "se-resnet-50": [_BIASES],
    "senet-154": [
        "The layout is recalled, not read: three 3x3 convolutions at the start, 64 groups, first 1x1 convolutions half "
        "as wide, 3x3 shortcuts where the map shrinks, dropout 0.2. It agrees with timm's legacy_senet154.",
        "pool1 rounds up and does not pad, as Caffe does.",
    ],
}

# timm's legacy networks, which are Cadene's ports of the Caffe models; gates are 1x1 convolutions there, linear here
TIMM_LEGACY = (
    ("conv1.{kind}{n}.", "layer0.{kind}{n}."),  # SENet-154's three; else the one convolution
    ("conv1.", "layer0.conv1."),
    ("bn1.", "layer0.bn1."),
    ("conv{s}_x.conv{s}_{b}.add.body.se.", "layer{s-1}.{b-1}.se_module."),
    *TORCHVISION,
    ("fc.", "last_linear."),
)


def caffe_pool(network: Network) -> Network:
    """The network with a first pool that rounds up and does not pad, as the released SE networks have it."""

    def change(layer: Layer) -> Layer:
        return Pool("max", 3, 2, ceil=True) if layer == Pool("max", 3, 2, 1) else layer

    return rewrite_network(network, change, f"{network.name}-caffe-pool")


def squeeze_excite(network: Network, reduction: int = 16) -> Network:
    """The network with a gate at the end of every residual body: `se-` and its name.

    Raises: UsageError for a network without residual blocks, and for a reduction below 1.
    """
    if reduction < 1:
        raise UsageError(f"a reduction is at least 1, not {reduction}")
    if not has_residuals(network.body):
        raise UsageError(f"{network.name} has no residual blocks to put a gate into")

    def change(layer: Layer) -> Layer:
        if not isinstance(layer, Residual):
            return layer
        inner = layer.body.layers if isinstance(layer.body, Chain) else (("body", layer.body),)
        return replace(layer, body=Chain((*inner, ("se", SqueezeExcite(reduction)))))

    return rewrite_network(network, change, f"se-{network.name}")


def senet154() -> Network:
    """A ResNeXt of 64 groups on the depths of ResNet-152, gated. `(3, 224, 224) -> (1000,)`."""
    first = normalised(Conv(64, 3, 2, 1), Conv(64, 3, pad=1), Conv(128, 3, pad=1))
    start = (("conv1", first), ("relu1", Relu()), ("pool1", Pool("max", 3, 2, ceil=True)))
    end = (("pool5", GlobalPool()), ("drop", Dropout(0.2)), ("fc", Linear(1000)))
    counts, _ = TABLE[152]
    body = Chain((*start, *stages(counts, WIDTHS, _body), *end))
    network = with_shortcuts(Network("senet-154", "senet-154", (3, 224, 224), body), _shortcut)
    return replace(squeeze_excite(network), name=network.name)


def _body(width: int, stride: int) -> Layer:
    return normalised(Conv(2 * width, 1), Conv(4 * width, 3, stride, 1, 64), Conv(4 * width, 1))


def _shortcut(channels: int, filters: int, stride: int) -> Layer:
    if (channels, stride) == (filters, 1):
        return IDENTITY
    size = 3 if stride > 1 else 1
    return chain(conv=Conv(filters, size, stride, size // 2, bias=False), bn=BatchNorm())
