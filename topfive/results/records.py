"""What was measured, as typed records: the engine returns them, files keep them as lines of JSON, reports show them."""

import msgspec

from topfive.results.statistics import interval


class Scores(msgspec.Struct, frozen=True):
    """How many images of how many were right; `correct5` is None below six classes, where Top-5 says nothing."""

    images: int
    correct1: int
    correct5: int | None
    unreadable: int = 0  # of the images, each an error

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
    waiting: float  # the share of the training time in which the next batch was waited for
    first_gradient: float | None  # norms of the gradient of the first and last kernels that learn, means over the steps
    last_gradient: float | None  # in a file a norm beyond all numbers is null
    memory_bytes: int  # the most that was in use
    note: str = ""


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
