"""`topfive serve` with and without micro-batching, beside the endpoint that tutorials write, in one run.

Closed loop: 1 to 64 clients, each of which sends its next image when it has its answer. Open loop: images arrive at
random moments at 70 % of the rate that the closed loop reached, whether or not the server keeps up. The servers take
turns, with the same network, images and clients. Five to six minutes; `SECONDS=1` for a glance, `NETWORKS=alexnet` for
one network, `EVERY=1` for every number of clients, `MINUTES=30` for its memory over as many minutes of the open loop.
"""

import asyncio
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image

SECONDS = float(os.environ.get("SECONDS", "5"))  # of each measurement
NETWORKS = os.environ.get("NETWORKS", "cifar-resnet-20,alexnet").split(",")
CLIENTS = (1, 2, 4, 8, 16, 32, 64) if os.environ.get("EVERY") else (1, 8, 64)
MINUTES = int(os.environ.get("MINUTES", "0"))
LOAD = 0.7
PORT = 8765
HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"


class Seen(NamedTuple):
    """What clients saw of a server: images a second, and milliseconds from sending one to its answer."""

    rate: float
    p50: float
    p99: float
    failed: int


# --- the servers -----------------------------------------------------------------------------------------------------


def plain(where: str) -> None:
    """The endpoint of the tutorials: the model in the process, one image at a time, in 32 bits."""
    import torch
    import uvicorn
    from fastapi import FastAPI, Request

    from topfive.engine.inference.models import open_model

    model = open_model(where)
    net, size, names = model.classifier.net.eval(), model.about.size, model.about.names
    mean, std = (values / 255 for values in model.classifier.normalisation)
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> list[dict[str, object]]:
        image = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((size, size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            shares, labels = net((pixels[None] - mean) / std).softmax(1)[0].topk(5)
        return [{"class": names[k], "probability": p} for k, p in zip(labels.tolist(), shares.tolist())]

    uvicorn.run(app, port=PORT, log_level="error")


SERVERS: dict[str, list[str]] = {
    "micro-batching": ["-m", "topfive", "serve", "{}", "--port", str(PORT), "--quiet"],
    "one at a time": ["-m", "topfive", "serve", "{}", "--port", str(PORT), "--quiet", "--max-batch", "1"],
    "plain endpoint": [__file__, "--plain", "{}"],
}


@contextmanager
def running(name: str, model: str) -> Iterator[psutil.Process]:
    """A server that answers."""
    process = subprocess.Popen([sys.executable, *(word.format(model) for word in SERVERS[name])])
    try:
        for _ in range(1200):
            if process.poll() is not None:
                sys.exit(f"{name} has ended by itself")
            with suppress(OSError):
                asyncio.run(once())
                break
            time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


async def once() -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.close()


def memory(process: psutil.Process) -> float:
    """MB of the server and its processes."""
    return float(sum(p.memory_info().rss for p in (process, *process.children())) / 1e6)


# --- the clients -----------------------------------------------------------------------------------------------------


class Client:
    """One connection that is kept, and opened again where the server has closed it for want of requests."""

    async def send(self, request: bytes) -> bool:
        """Whether the image was answered."""
        if hasattr(self, "writer"):
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                return await self._sent(request)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        return await self._sent(request)

    async def _sent(self, request: bytes) -> bool:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await self.reader.readexactly(length)
        return head.startswith(b"HTTP/1.1 200")


async def closed(requests: list[bytes], clients: int, seconds: float) -> Seen:
    """Each client sends when it has its answer."""
    images, took, failed = cycle(requests), list[float](), 0
    begin = time.perf_counter()

    async def one() -> None:
        nonlocal failed
        client = Client()
        while (sent := time.perf_counter()) < begin + seconds:
            failed += not await client.send(next(images))
            took.append(time.perf_counter() - sent)

    await asyncio.gather(*(one() for _ in range(clients)))
    return seen(took, failed, time.perf_counter() - begin)


async def open_loop(requests: list[bytes], rate: float, seconds: float) -> Seen:
    """Images come at random moments, whatever becomes of those before; from its moment on each one's time counts."""
    images, took, failed, idle = cycle(requests), list[float](), 0, list[Client]()
    chance, begin, tasks = random.Random(0), time.perf_counter(), list[asyncio.Task[None]]()

    async def one(due: float) -> None:
        nonlocal failed
        client = idle.pop() if idle else Client()
        failed += not await client.send(next(images))
        took.append(time.perf_counter() - due)
        idle.append(client)

    due = begin
    while (due := due + chance.expovariate(rate)) < begin + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return seen(took, failed, time.perf_counter() - begin)


def seen(took: list[float], failed: int, seconds: float) -> Seen:
    took = sorted(1e3 * one for one in took) or [0.0]
    return Seen((len(took) - failed) / seconds, statistics.median(took), took[int(0.99 * (len(took) - 1))], failed)


# --- what is sent, and what comes of it ------------------------------------------------------------------------------


def images(size: int) -> list[bytes]:
    """JPEGs such as a camera's, somewhat larger than the network's input: smooth, with some noise."""
    chance, found = np.random.default_rng(0), []
    for _ in range(16):
        coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((size * 2, size * 3 // 2))
        pixels = np.asarray(coarse).astype(int) + chance.integers(-8, 8, (size * 3 // 2, size * 2, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def saved(name: str, folder: Path) -> tuple[str, int]:
    """A network with fresh weights, which take as long as trained ones, and its side."""
    import torch

    from topfive.engine.inference.models import About, Model, save
    from topfive.engine.models.modules import Classifier, build
    from topfive.networks import get

    network = get(name)
    middle = torch.full((1, 3, 1, 1), 120.0)
    about = About(network, network.input[1], tuple(f"class {i}" for i in range(network.classes)))
    save(Model(name, "", "", about, Classifier(build(network), middle, middle / 2)), folder / f"{name}.safetensors")
    return str(folder / f"{name}.safetensors"), about.size


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def measure(name: str, folder: Path) -> None:
    model, size = saved(name, folder)
    files = images(size)
    requests = [HEAD.format("/predict", len(file)).encode() + file for file in files]
    best: dict[str, float] = {}
    alone = loaded = Seen(0, 0, 0, 0)
    print(f"\n**{name}**, JPEGs of {size * 2}x{size * 3 // 2} pixels, {sum(map(len, files)) // len(files):,} bytes\n")
    row("server", "clients", "images/s", "p50 ms", "p99 ms", "failed", "MB before", "MB after")
    row(*["---"] + ["---:"] * 7)
    for server in SERVERS:
        with running(server, model) as process:
            asyncio.run(closed(requests, 16, min(2.0, SECONDS)))  # warms up both sides
            for clients in CLIENTS:
                before = memory(process)
                found = asyncio.run(closed(requests, clients, SECONDS))
                row(server, clients, *found, before, memory(process))
                best[server] = max(best.get(server, 0.0), found.rate)
                alone = found if (server, clients) == ("micro-batching", 1) else alone
            if server == "micro-batching":
                rate, before = LOAD * best[server], memory(process)
                loaded = asyncio.run(open_loop(requests, rate, 2 * SECONDS))
                row(server, f"open, {rate:.1f}/s", *loaded, before, memory(process))
                for minute in range(1, MINUTES + 1):
                    before = memory(process)
                    row(
                        server, f"minute {minute}", *asyncio.run(open_loop(requests, rate, 60)), before, memory(process)
                    )
    ours = best["micro-batching"]
    print(
        f"\n{name}: micro-batching {ours / best['one at a time']:.2f} times one at a time, "
        f"{ours / best['plain endpoint']:.2f} times the plain endpoint; at {LOAD:.0%} load p99 is "
        f"{loaded.p99 / alone.p50:.2f} times the median of one client",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--plain"]:
        return plain(arguments[1])
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            measure(name, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
