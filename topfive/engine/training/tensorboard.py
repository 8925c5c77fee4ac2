"""The rows of a training for TensorBoard, beside those in JSON lines."""

from pathlib import Path

import msgspec

from topfive.errors import UsageError
from topfive.results.records import EpochRecord


class Events:
    """Writes each row as it comes; what an earlier start wrote is replaced. Raises: UsageError without tensorboard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError("--tensorboard needs an extra: pip install 'topfive[tensorboard]'") from None
        self.writer = SummaryWriter(str(folder), purge_step=0)

    def add(self, row: EpochRecord) -> None:
        """Every number of a row, accuracies as fractions, by epoch."""
        numbers = {key: value for key, value in msgspec.to_builtins(row).items() if isinstance(value, float)}
        numbers |= {f"auxiliary_loss/{n}": loss for n, loss in enumerate(row.auxiliary_losses, 1)}
        if row.scores:
            numbers["val/top1_accuracy"] = row.scores.top1_accuracy
            if row.scores.top5_accuracy is not None:
                numbers["val/top5_accuracy"] = row.scores.top5_accuracy
        for name, value in numbers.items():
            tag = name if "/" in name else f"training/{name}"
            self.writer.add_scalar(tag, value, row.epoch)
        self.writer.flush()
