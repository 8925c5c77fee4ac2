"""What the server counts, as Prometheus reads it."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """How often a value was at most each of `bounds`, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        total = 0
        for bound, n in zip((*map(str, self.bounds), "+Inf"), self.counts):
            total += n
            yield f'{name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {total}'
        braced = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braced} {self.sum}"
        yield f"{name}_count{braced} {total}"


class Metrics:
    """Counters since the start; all are changed by the one thread of the server."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()  # by status
        self.images: Counter[tuple[str, str]] = Counter()  # by model and outcome
        self.shed = self.restarts = 0
        self.seconds = Histogram(SECONDS)
        self.batches: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(IMAGES))

    def answered(self, model: str, outcome: str) -> None:
        self.images[model, outcome] += 1

    def ran(self, model: str, images: int) -> None:
        self.batches[model].add(images)

    def text(self, waiting: Iterable[tuple[str, int, bool]]) -> str:
        """The page of /metrics; `waiting` is each model's name, the images that it holds, and whether it is ready."""
        models = list(waiting)
        lines = [*_about("requests_total", "counter", "HTTP requests by status.")]
        lines += [f'topfive_requests_total{{status="{status}"}} {n}' for status, n in sorted(self.requests.items())]
        lines += _about("request_seconds", "histogram", "Seconds from a predict request's head to its answer.")
        lines += self.seconds.lines("topfive_request_seconds")
        lines += _about("images_total", "counter", "Images by model and outcome.")
        lines += [
            f'topfive_images_total{{model="{_quoted(model)}",outcome="{outcome}"}} {n}'
            for (model, outcome), n in sorted(self.images.items())
        ]
        lines += _about("batch_images", "histogram", "Images that were run together.")
        for model, histogram in sorted(self.batches.items()):
            lines += histogram.lines("topfive_batch_images", f'model="{_quoted(model)}"')
        for name, kind, text, of in (
            ("images_waiting", "gauge", "Images that wait or run.", 1),
            ("ready", "gauge", "Whether the model answers.", 2),
        ):
            lines += _about(name, kind, text)
            lines += [f'topfive_{name}{{model="{_quoted(model[0])}"}} {int(model[of])}' for model in models]
        lines += [*_about("images_shed_total", "counter", "Images refused as the queue was full."),
                  f"topfive_images_shed_total {self.shed}",
                  *_about("worker_restarts_total", "counter", "Processes of models that ended and were started again."),
                  f"topfive_worker_restarts_total {self.restarts}"]  # fmt: skip
        return "\n".join(lines) + "\n"


def _about(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP topfive_{name} {text}", f"# TYPE topfive_{name} {kind}"]


def _quoted(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
