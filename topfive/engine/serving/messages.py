"""What the HTTP process and the process of a model tell each other: records in frames, over the pipes between them."""

import msgspec


class Options(msgspec.Struct, frozen=True):
    """How a model is opened and run."""

    where: str
    network: str | None = None
    classes: str | None = None
    protocol: str | None = None
    device: str = "auto"
    max_batch: int = 32


class Image(msgspec.Struct, frozen=True, tag=True):
    """To be decoded; `top` classes are wanted of it, and where the likeliest was found."""

    ticket: int
    name: str
    top: int
    data: bytes
    heatmap: bool = False


class RunBatch(msgspec.Struct, frozen=True, tag=True):
    batch: int
    tickets: tuple[int, ...]


class Forget(msgspec.Struct, frozen=True, tag=True):
    ticket: int


class Card(msgspec.Struct, frozen=True, tag=True):
    """The model is ready, and this is what it is."""

    network: str
    params: int
    macs: int  # of one view
    size: int  # pixels
    receptive_field: int  # pixels of the input that a value of the last map sees, at most
    classes: int
    protocol: str
    views: int  # of an image
    trained_on: str
    origin: str
    backend: str
    sha256: str
    notes: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be used."""

    sentence: str
    exit_code: int


class Decoded(msgspec.Struct, frozen=True, tag=True):
    ticket: int


class Guess(msgspec.Struct, frozen=True, rename={"name": "class"}):
    name: str
    probability: float


class Rectangle(msgspec.Struct, frozen=True):
    """In fractions of the image; a part that is cut out of a small image may reach beyond it."""

    left: float
    top: float
    right: float
    bottom: float


class Heatmap(msgspec.Struct, frozen=True):
    """Where the likeliest class was found: Grad-CAM of the last row with a map, for the first view of the protocol."""

    row: str
    height: int
    width: int
    values: tuple[int, ...]  # 0..255, line by line
    view: Rectangle  # that the map lies over
    field: Rectangle  # the receptive field of the strongest value
    upright: bool  # whether the image was first turned as its EXIF says


class Prediction(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """The likeliest classes of an image, or why there are none and the HTTP status that goes with it."""

    top: tuple[Guess, ...] = ()
    error: str = ""
    status: int = 200
    heatmap: Heatmap | None = None
    no_heatmap: str = ""  # why there is none, where it was asked for


class Undecodable(msgspec.Struct, frozen=True, tag=True):
    ticket: int
    why: Prediction


class Predictions(msgspec.Struct, frozen=True, tag=True):
    """The results of a batch, in its order; `failure` where there are none."""

    batch: int
    results: tuple[Prediction, ...]
    failure: str = ""


ToWorker = Image | RunBatch | Forget
FromWorker = Card | Refusal | Decoded | Undecodable | Predictions
LENGTH = 4  # bytes before each frame, big-endian
options = msgspec.msgpack.Decoder(Options)
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(message: Options | ToWorker | FromWorker) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(LENGTH, "big") + data
