"""What was measured, as typed records: the engine returns them, files keep them as lines of JSON, reports show them."""

import msgspec

from topfive.results.statistics import interval


class Scores(msgspec.Struct, frozen=True):
    """How many images of how many were right; `correct5` is None below six classes, where Top-5 says nothing."""

    images: int
    correct1: int
    correct5: int | None
    unreadable: int = 0  # of the images, each an error
    right: bytes = b""  # a bit an image, Top-1, those that cannot be read last; nothing where it was not noted
    right5: bytes = b""

    @property
    def top1_accuracy(self) -> float:
        return self.correct1 / self.images

    @property
    def top5_accuracy(self) -> float | None:
        return None if self.correct5 is None else self.correct5 / self.images


class EpochRecord(msgspec.Struct, frozen=True):
    """What one epoch came to. Losses are means over the images of the epoch, accuracies fractions."""

    epoch: int
    loss: float
    auxiliary_losses: tuple[float, ...]
    train_accuracy: float  # Top-1 on the images as they were trained on: cropped, mirrored, mixed
    train_top5: float | None
    scores: Scores | None  # of the validation images, in the epochs in which they were evaluated
    lr: float
    side: int  # of the training images, in pixels
    seconds: float  # since training began, evaluation included
    images_per_second: float  # in training alone
    data_wait: float  # the share of the training time in which the next batch was waited for
    first_gradient: float | None  # norms of the gradient of the first and last kernels that learn, means over the steps
    last_gradient: float | None  # in a file a norm beyond all numbers is null
    memory_bytes: int  # the most that was in use
    note: str = ""

    @property
    def top1(self) -> float | None:
        """Validation accuracy in percent; None in an epoch without an evaluation."""
        return 100 * self.scores.top1_accuracy if self.scores else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `top1`, in percent."""
        return percent(interval(self.scores.correct1, self.scores.images)) if self.scores else None


class Accuracy(msgspec.Struct, frozen=True):
    """How many of how many images were right."""

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """A fraction."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, as fractions."""
        return interval(self.correct, self.images)


class Evaluation(msgspec.Struct, frozen=True):
    """One model under one protocol; `top5` is None below six classes, where Top-5 says nothing."""

    protocol: str  # with its sizes in pixels: `1-crop 224 of 256`
    top1: Accuracy
    top5: Accuracy | None
    unreadable: int = 0  # of the images, each an error


class EvaluationRow(msgspec.Struct, frozen=True):
    """A model under a protocol, with the error that is published of it; accuracies and errors are fractions."""

    model: str
    network: str
    key: str  # of the protocol, as --protocol takes it
    protocol: str
    images: int
    unreadable: int
    unreadable_are: str  # errors, or left out
    correct1: int
    correct5: int | None
    top1_accuracy: float | None
    top1_low: float | None
    top1_high: float | None
    top5_accuracy: float | None
    top5_low: float | None
    top5_high: float | None
    calibration_error: float | None
    published_top1_error: float | None
    published_top5_error: float | None
    published_where: str | None
    published_split: str | None
    views: float | None = None  # of an image
    ops: float | None = None  # of an image with all its views
    ms: float | None = None
    engine: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}, {self.protocol}"

    @property
    def kind(self) -> str:
        return "network"

    @property
    def top1(self) -> float | None:
        """In percent."""
        return None if self.top1_accuracy is None else 100 * self.top1_accuracy

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `top1`, in percent."""
        low, high = self.top1_low, self.top1_high
        return None if low is None or high is None else percent((low, high))


class Benchmark(msgspec.Struct, frozen=True):
    """What a network takes on a machine: medians with their quartiles.

    Memory is what the process grew by at most, weights included.
    """

    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    throughput: float  # images a second
    throughput_low: float
    throughput_high: float
    throughput_batch: int
    memory_inference_bytes: int  # one image
    memory_training_bytes: int  # one step of `training_batch` images
    training_batch: int
    cpu_contention: float = 0.0  # processors that the timings lacked, since other programs had them
    latency_p90_ms: float = 0.0
    backend: str = ""  # the form in which it was timed


class TrialRecord(msgspec.Struct, frozen=True):
    """One training of a network with one seed, as a comparison makes it; `scores` are those of the trained network."""

    key: str  # of everything that it depends on: the network's value, the size, the recipe with its seed, the start
    seed: int
    scores: Scores
    epochs: float
    training_seconds: float  # evaluations included
    loss: float  # of the last epoch
    learning_rate: float | None = None
    precision: str = ""  # of training, as is the memory format; "" for what is not torch's
    memory_format: str = ""
    data_wait: float = 0.0  # the share of the training time in which the next batch was waited for
    curve: tuple[dict[str, float], ...] = ()
    trial: str = ""  # its run folder within the comparison's; "" for what was trained without one
    joules: float | None = None  # that the processor took meanwhile, where the machine tells
    peak_bytes: int | None = None  # the most that the process held while it trained, images included
    stuck: bool = False  # the loss stayed at ln(classes)
    params: int = 0  # of the shallow baseline's classifier, which are not known before
    notes: tuple[str, ...] = ()


class ComparisonRow(msgspec.Struct, frozen=True):
    """One network of a comparison, at one size, over its seeds.

    Accuracies are means over the seeds, as fractions, with the 95 % interval of `statistics.mean_interval`; None where
    Top-5 says nothing. Seconds, joules and the curve's points are means over the seeds too.
    """

    name: str
    family: str
    kind: str  # network, module (a user's own) or shallow
    top1_accuracy: float
    top1_low: float
    top1_high: float
    top5_accuracy: float | None
    top5_low: float | None
    top5_high: float | None
    images: int
    unreadable: int
    protocol: str
    params: int
    macs: int
    ops: int
    counted_by: str
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    throughput: float
    throughput_low: float
    throughput_high: float
    throughput_batch: int
    memory_inference_bytes: int
    memory_training_bytes: int
    training_batch: int
    training_seconds: float
    epochs: float
    learning_rate: float | None
    precision: str = ""  # of training, as is the memory format; "" for what is not torch's
    memory_format: str = ""
    data_wait: float = 0.0  # the share of the training time in which the next batch was waited for
    cpu_contention: float = 0.0  # processors that the timings lacked, since other programs had them
    curve: tuple[dict[str, float], ...] = ()
    key: str = ""  # of everything that the row depends on: the network's value and the setting
    trial: str = ""  # its run folder within the comparison's; "" for what was trained without one
    notes: tuple[str, ...] = ()  # how it was trained otherwise than the others
    size: int = 0  # side of the images in pixels
    recipe: str = ""
    start: str = "scratch"
    seeds: tuple[int, ...] = ()
    accuracies: tuple[float, ...] = ()  # Top-1, seed by seed
    trained: bool = True  # better than always naming the commonest class
    among_best: bool = False  # it cannot be told from the network with the highest accuracy
    trials: tuple[str, ...] = ()  # the run folders, seed by seed
    latency_p90_ms: float = 0.0
    weight_bytes: int = 0
    backend: str = ""
    joules: float | None = None  # of a training
    training_peak_bytes: int | None = None  # the most that the process held while it trained, images included

    @property
    def top1(self) -> float:
        """In percent."""
        return 100 * self.top1_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `top1`, in percent."""
        return percent((self.top1_low, self.top1_high))


class FailedRow(msgspec.Struct, frozen=True):
    """A network that the comparison could make no row of, and why."""

    name: str
    family: str
    kind: str
    failed: str


class PublishedRow(msgspec.Struct, frozen=True):
    """A network of the literature: its costs, and the published errors that compare best, in percent as printed."""

    name: str
    family: str
    title: str
    year: int
    input: int
    depth: int
    params: int
    macs: int
    ops: int
    peak_bytes: int
    weight_bytes: int
    top1_error: float | None
    top5_error: float | None
    protocol: str | None
    source: str | None
    conf: str | None
    drawn: bool = True  # in the figure, which is of ImageNet's validation images

    @property
    def kind(self) -> str:
        return "network"

    @property
    def top1(self) -> float | None:
        """Accuracy in percent."""
        return None if self.top1_error is None else 100 - self.top1_error

    @property
    def interval(self) -> None:
        """Nothing is printed of it."""


def percent(fractions: tuple[float, float]) -> tuple[float, float]:
    return 100 * fractions[0], 100 * fractions[1]
