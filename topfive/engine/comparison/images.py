"""The images of a comparison, read once for each way in which trainings take them."""

import time
from collections.abc import Callable

from topfive.data.sources import Source
from topfive.engine.comparison.candidates import Entry
from topfive.engine.comparison.folder import Folder
from topfive.engine.comparison.trials import Place
from topfive.engine.training.datasets import Data
from topfive.engine.training.loading import chosen, prepare
from topfive.engine.training.unreadable import TooManyUnreadable, note_unreadable
from topfive.errors import DataError
from topfive.recipes.augmentations import Centre
from topfive.results.progress import Progress
from topfive.results.training import Reading

KEPT = 0.3  # of the memory, which images of other readings may have beside those that are read now


class ImageCache:
    """The images of `source`, kept as far as the memory allows; what cannot be read is noted in `folder`."""

    def __init__(self, source: Source, place: Place, folder: Folder, memory_bytes: int) -> None:
        self.source, self.place, self.folder, self.memory_bytes = source, place, folder, memory_bytes
        self.datas: dict[tuple[Reading, int], Data] = {}  # by how they were read, and at which size

    def skipped(self) -> list[str]:
        """What was skipped, in sentences."""
        return [data.skipped for data in self.datas.values() if data.skipped]

    def note(self, data: Data) -> None:
        """Write down which files of `data` cannot be read; one may have gone since."""
        note_unreadable(self.place.folder, data.unreadable.values())

    def reading(self, one: Entry) -> tuple[Reading, int]:
        """How the images come to the training of `one`; to the shallow baseline as the validation images do."""
        crop, size = one.recipe.augmentation.crop if one.spec else Centre(), one.candidate.size
        return chosen(self.source, size, crop, self.place.workers), size

    def read(self, one: Entry, progress: Callable[[Progress], object]) -> Data:
        """The images, read where they are not there as `one` takes them."""
        reading, size = wanted = self.reading(one)
        if wanted in self.datas:
            return self.datas[wanted]
        total, seen = len(self.source.train) + len(self.source.val), 0
        began = time.perf_counter()

        def tick(count: int) -> None:
            nonlocal seen
            seen += count
            if seen % 50 == 0 or seen == total:
                rate = seen / (time.perf_counter() - began)
                progress(Progress(f"reading {self.source.name}", 0.0, f"{rate:,.0f} images/s of {total:,}"))

        if sum(data.held_bytes for data in self.datas.values()) > KEPT * self.memory_bytes:
            self.datas.clear()  # why: there is not room for all
        try:
            data = prepare(self.source, size, Centre(), None, tick, reading, self.place.max_bad)
        except TooManyUnreadable as error:
            noted = note_unreadable(self.place.folder, error.unreadable)
            raise DataError(f"{error}; all of them: {noted}") from None
        self.folder.keep_decoded(dict(data.done.most_common()))
        self.note(data)
        self.datas[wanted] = data
        return data
