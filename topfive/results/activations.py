"""What a trained model makes of one image, row by row."""

import msgspec

from topfive.networks.layers import Network


class ActivationMap(msgspec.Struct, frozen=True):
    """A channel of a row as a grey PNG, from its lowest value (black) to its highest (white)."""

    channel: int
    low: float
    high: float
    png: bytes


class Activations(msgspec.Struct, frozen=True):
    """The strongest channels of each row, and the likeliest classes with their probabilities."""

    model: str
    network: Network
    size: int  # side of the view in pixels
    protocol: str
    view: bytes  # what the network is shown, as PNG
    maps: dict[str, tuple[ActivationMap, ...]]  # by row; those that put out maps
    answers: tuple[tuple[str, float], ...]
