"""The server under what the internet may send it for hours, in minutes: all of it slow."""

import contextlib
import random
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image
from served import Served, served
from test_prediction import model as tiny
from test_serve import CAP, HEAD, MALFORMED, form, mutants, noise, offline, same, together
from test_zoo import png, saved

from topfive.engine.inference.models import save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    save(tiny(0), root / "m0.safetensors")
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[Served]:
    with served(folder, str(folder / "m0.safetensors"), "--max-body-mb", str(CAP / 1e6)) as running:
        yield running
        assert running.process.poll() is None and len(running.workers) == 1
        assert "Traceback" not in running.said and "internal" not in running.said, running.said


def test_two_thousand_mutants_and_a_thousand_good_images_leave_no_trace(server: Served) -> None:
    """H4, H6: nothing but a status, and no more memory, files or threads than after the first of them."""

    def some(n: int) -> Counter[int]:
        seen = mutants(server, 500, n)
        replies = together(8, lambda i: [server.predict(noise(i)) for _ in range(30)][-1])
        assert all(reply.status == 200 for reply in replies)
        return seen

    def held() -> tuple[int, int]:
        processes = [psutil.Process(server.process.pid), *server.workers]
        return sum(p.num_fds() for p in processes), sum(p.num_threads() for p in processes)

    some(1), some(2)  # what is kept after an image of some size is kept once
    memory, before = server.memory(), held()
    seen = some(1) + some(2)
    grown, after = server.memory() - memory, held()
    print(f"{dict(seen)}; memory {memory / 1e6:.1f} MB, grown by {grown / 1e6:.1f}; files and threads {before} {after}")
    assert grown < 4_000_000
    assert all(abs(a - b) <= 5 for a, b in zip(before, after))


def crooked(chance: random.Random) -> bytes:
    """A request with something wrong at random: bytes changed, left out, repeated, or put in."""
    parts, _ = MALFORMED[chance.choice(list(MALFORMED))]
    body = noise(1)
    whole = HEAD + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    data = bytearray(chance.choice([b"".join(parts), whole, whole]))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(len(data), 200))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at:at] = data[at : at + 30]
            case _:
                data[at:at] = bytes(chance.randrange(256) for _ in range(5))
        data = data or bytearray(b"x")
    return bytes(data)


def test_two_hundred_malformed_requests_have_a_status_or_a_closed_connection(server: Served) -> None:
    chance, seen = random.Random(7), Counter[int]()
    for _ in range(200):
        sent = crooked(chance)
        status, got = server.raw(sent)
        seen[status] += 1
        assert status < 500 and b"Traceback" not in got, (sent, got)
    print(dict(seen))
    assert server.predict(noise(1)).status == 200


def test_slow_clients_are_dropped_and_others_do_not_notice(server: Served) -> None:
    """H7: 100 heads and 100 bodies at some bytes a second."""

    def median() -> float:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            assert server.predict(noise(1)).status == 200
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    alone, slow = median(), []
    for i in range(200):
        client = server.connect()
        client.sendall(b"GET / HT" if i % 2 else HEAD + b"Content-Length: 1000\r\n\r\n")
        client.setblocking(False)
        slow.append(client)
    began, beside = time.monotonic(), []
    while slow and time.monotonic() < began + 40:
        beside.append(median())
        for client in list(slow):
            try:
                client.send(b"x")
                if client.recv(1000, socket.MSG_PEEK):  # a status: 408
                    raise ConnectionError
            except BlockingIOError:
                continue
            except ConnectionError:
                slow.remove(client)
                client.close()
    print(f"dropped after {time.monotonic() - began:.0f} s; {1e3 * alone:.1f} ms alone, {1e3 * max(beside):.1f} beside")
    assert not slow


def test_a_gigabyte_is_cut_off_and_takes_no_memory(server: Served) -> None:
    """H5: by a length that is true, by none, and in chunks of 6 bytes."""
    server.predict(noise(1))
    memory = server.memory()
    head = HEAD + b"Content-Type: image/png\r\n"
    ways = {
        "length": (head + b"Content-Length: 1000000000\r\n\r\n", bytes(1_000_000)),
        "chunks": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + bytes(1_000_000) + b"\r\n"),
        "small chunks": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"6\r\nabcdef\r\n" * 5000),
    }
    for name, (start, part) in ways.items():
        sent, most = 0, 1_000_000_000
        with server.connect() as client, contextlib.suppress(ConnectionError):
            client.sendall(start)
            while sent < most:
                client.sendall(part)
                sent += len(part)
        print(f"{name}: cut off after {sent / 1e6:.1f} MB; memory grown by {(server.memory() - memory) / 1e6:.1f} MB")
        assert sent < 30_000_000 and server.memory() - memory < 20_000_000
        assert server.predict(noise(1)).status == 200


def test_what_is_costly_to_decode_is_refused(server: Served) -> None:
    """H10."""
    frames = saved_frames()
    for data, expected in ((png(60000, 60000, 1, 0), 413), (png(12000, 9000, 8, 0), 413), (frames, 200)):
        began, memory = time.monotonic(), server.memory()
        assert server.predict(data).status == expected
        assert server.memory() - memory < 300_000_000
        print(f"{expected} after {time.monotonic() - began:.2f} s")


def saved_frames() -> bytes:
    """A GIF of a thousand frames."""
    first = Image.new("L", (8, 8))
    others = [Image.new("L", (8, 8), i % 256) for i in range(1, 1000)]
    return saved(first, "GIF", save_all=True, append_images=others)


def test_a_batch_with_a_bad_image_is_seven_answers_and_an_error(server: Served, folder: Path) -> None:
    """H8, a hundred times, as one request and as eight."""
    images = [noise(i) for i in range(8)]
    expected = offline(folder, images)
    for n in range(100):
        sent = [data if i != n % 8 else data[: 40 + n] for i, data in enumerate(images)]
        found = server.ask("/predict", *form(sent))
        for i, one in enumerate(found.json["predictions"]):
            assert one["status"] == 400 if i == n % 8 else same(one, expected[i])


def test_a_hanging_worker_is_replaced(folder: Path) -> None:
    with served(folder, str(folder / "m0.safetensors"), "--timeout", "1") as server:
        (worker,) = server.workers
        worker.send_signal(signal.SIGSTOP)
        reply = server.predict(noise(1))
        assert reply.status == 504 and "time limit" in reply.text
        end = time.monotonic() + 60
        while worker.is_running() or server.ask("/ready").status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert server.predict(noise(1)).status == 200


def test_a_file_that_changes_under_the_server_is_not_served_in_its_place(folder: Path) -> None:
    """H17: nothing changes for those that are served; a worker that has to load it again refuses to."""
    path = folder / "changing.safetensors"
    save(tiny(0), path)
    with served(folder, str(path)) as server:
        before = server.predict(noise(1)).json["predictions"]
        save(tiny(1), path)
        assert server.predict(noise(1)).json["predictions"] == before
        server.workers[0].kill()
        end = time.monotonic() + 60
        while "has changed" not in server.ask("/ready").text:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert server.predict(noise(1)).status == 503
        save(tiny(0), path)  # the file is back, and with it the server
        while server.ask("/ready").status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert server.predict(noise(1)).json["predictions"] == before


@pytest.mark.parametrize("seed", range(3))
def test_a_signal_under_load_ends_with_every_answer_given(folder: Path, seed: int) -> None:
    """H11."""
    with served(folder, str(folder / "m0.safetensors")) as server:
        seen, stopping = Counter[str](), threading.Event()

        def client(i: int) -> None:
            while not stopping.is_set():
                try:
                    seen[str(server.predict(noise(i)).status)] += 1
                except (ConnectionRefusedError, ConnectionResetError) as error:
                    seen[type(error).__name__] += 1
                    return

        clients = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for thread in clients:
            thread.start()
        time.sleep(random.Random(seed).uniform(0.3, 1.0))
        began = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - began
        stopping.set()
        for thread in clients:
            thread.join()
        print(f"{dict(seen)}, ended after {took:.1f} s")
        assert took < 10 and seen["200"] > 0 and set(seen) <= {"200", "ConnectionRefusedError", "ConnectionResetError"}
