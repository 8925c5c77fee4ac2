"""`topfive serve`: a model behind HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from topfive.commands.models import examine
from topfive.console import say
from topfive.errors import UsageError

TOKEN = "TOPFIVE_TOKEN"  # why: what stands on a command line is seen by every user of the machine


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_batch: int = 32,
    batch_wait_ms: float = 2.0,
    queue: int = 128,
    max_body_mb: float = 16.0,
    timeout: float = 30.0,
    protocol: str | None = None,
    classes: str | None = None,
    network: str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Serve models over HTTP: POST an image to /predict, or open the page at / in a browser.

    Images that arrive together are run together. With $TOPFIVE_TOKEN set, a client has to send it as a bearer token.

    Parameters
    ----------
    models
        Run folders or files of weights, each also as NAME=MODEL; the first answers where none is named.
    host
        The address to listen on; 0.0.0.0 opens the server to other machines.
    port
        The port; 0 takes a free one.
    max_batch
        The most images that are run together; 1 runs each alone.
    batch_wait_ms
        How long an idle model waits, at most, for images that are being decoded; a lone one is run at once.
    queue
        The most images that a model holds; further ones get status 429.
    max_body_mb
        The largest body of a request, in millions of bytes.
    timeout
        The most seconds until an image has its answer.
    protocol
        The evaluation protocol: 10-crop, ... (docs/protocols.md); by default that of the model's own training or
        library.
    classes
        The class names, if the weights do not have them: a text file with one per line, in the order of the outputs.
    network
        The network, if the weights do not identify it.
    device
        auto, cpu, cuda, cuda:1, ... or mps, an Apple GPU; auto is cuda where there is one, else cpu.
    quiet
        Only warnings and errors.
    """
    if not models:
        raise UsageError("name a model: a run folder or a file of weights")
    if min(max_batch, queue) < 1 or not 0 <= port <= 65535:
        raise UsageError("--max-batch and --queue are at least 1, --port is 0 to 65535")
    if not (0 <= batch_wait_ms < inf and 0 < timeout < inf and 0 < max_body_mb < inf):
        raise UsageError("--timeout and --max-body-mb are numbers above 0, --batch-wait-ms is one from 0 on")
    named = _named(models)
    examine(list(named.values()))
    try:
        import fastapi as fastapi
        import uvicorn as uvicorn
    except ImportError:
        raise UsageError("the server needs FastAPI and uvicorn: pip install 'topfive[serve]'") from None
    import asyncio

    from topfive.engine.serving.app import Page
    from topfive.engine.serving.limits import Limits, loopback
    from topfive.engine.serving.messages import Options
    from topfive.engine.serving.server import listen
    from topfive.engine.serving.server import serve as run
    from topfive.report.pages.serving import pages

    limits = Limits(batch_wait_ms / 1e3, queue, min(queue, 64), int(1e6 * max_body_mb), answer_seconds=timeout)
    options = {name: Options(where, network, classes, protocol, device, max_batch) for name, where in named.items()}
    token = os.environ.get(TOKEN, "")
    if not loopback(host):
        safe = "clients need the token" if token else f"anyone who reaches it may use it, unless ${TOKEN} is set"
        say(f"warning: {host} opens the server to other machines, without encryption; {safe}", False)

    def shown(openapi: Mapping[str, object]) -> Mapping[str, Page]:
        return {path: Page(*page) for path, page in pages(openapi, limits.body).items()}

    with listen(host, port) as at:
        asyncio.run(run(options, limits, at, host, token, shown, lambda text: say(text, quiet)))


def _named(models: Sequence[str]) -> dict[str, str]:
    """Each model's place by its name. Raises: UsageError."""
    named: dict[str, str] = {}
    for model in models:
        name, _, where = model.partition("=")
        if not where or Path(model).exists():
            path, where = Path(model).resolve(), model
            name = path.stem if path.is_file() else path.name
        if not name:
            raise UsageError(f"{model!r} has no name for its model: write NAME=MODEL")
        if name in named:
            raise UsageError(f"two models are called {name!r}: name one of them, as in second={where}")
        named[name] = where
    return named
