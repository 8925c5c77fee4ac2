"""The server as clients see it: the right answer to each, a clear one to the wrong, and still there afterwards."""

import base64
import io
import json
import random
import re
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from served import Reply, Served, served
from test_prediction import model as tiny
from test_zoo import BAD, FORMATS, ODD, mutant, png

from topfive.cli import main
from topfive.data.decoding import decode
from topfive.data.views import views
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference.heatmap import grad_cam
from topfive.engine.inference.models import open_model, save
from topfive.engine.inference.prediction import Predictor, predicted
from topfive.engine.models.modules import Net

pytest.importorskip("fastapi", reason="the server needs the extra serve")
pytest.importorskip("uvicorn", reason="the server needs the extra serve")

CAP = 300_000  # bytes of a body, in these tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    for seed in (0, 1):
        save(tiny(seed), root / f"m{seed}.safetensors")
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    """Two models; batches are waited for, so that images of several clients do run together."""
    first, second = folder / "m0.safetensors", folder / "m1.safetensors"
    with served(
        folder, str(first), f"other={second}", "--max-body-mb", str(CAP / 1e6), "--batch-wait-ms", "20", "--queue", "64"
    ) as running:
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.said and "internal" not in running.said, running.said


def noise(seed: int, side: int = 40) -> bytes:
    """An image of a tint of its own."""
    file, chance = io.BytesIO(), np.random.default_rng(seed)
    pixels = chance.integers(0, 256, (side, side, 3)) * chance.uniform(0, 1, 3)
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def offline(folder: Path, images: list[bytes], name: str = "m0") -> list[dict[str, float]]:
    """What predict gives: each class and its probability."""
    model = open_model(str(folder / f"{name}.safetensors"))
    judge = Predictor(model, model.about.protocol, this_machine(), 32, "float32")

    def read(i: int, upright: bool) -> Image.Image:
        return decode(images[i], "", upright).image

    found = [shares for _, shares in predicted([judge], len(images), read)]
    return [dict(zip(model.about.names, map(float, one[0]))) for one in found if isinstance(one, list)]


def close(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(abs(a[name] - b[name]) < 1e-3 for name in a)


def same(prediction: Any, expected: dict[str, float]) -> bool:
    best = sorted(expected.items(), key=lambda pair: -pair[1])[: len(prediction["top"])]
    given = [(guess["class"], guess["probability"]) for guess in prediction["top"]]
    return all(a[0] == b[0] and abs(a[1] - b[1]) < 1e-5 for a, b in zip(given, best, strict=True))


def form(images: list[bytes]) -> tuple[bytes, dict[str, str]]:
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n\r\n%s\r\n' % (i, data)
        for i, data in enumerate(images)
    ]
    return b"".join(parts) + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def together(count: int, what: Callable[[int], Reply]) -> list[Reply]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(what, range(count)))


# --- right answers ---------------------------------------------------------------------------------------------------


def test_every_way_to_send_images_gives_what_predict_gives(server: Served, folder: Path) -> None:
    images = [noise(i) for i in range(5)]
    expected = offline(folder, images)
    assert not any(close(a, b) for a, b in combinations(expected, 2))  # so that one is not taken for another
    encoded = [base64.b64encode(data).decode() for data in images]
    encoded[1] = f"data:image/png;base64,{encoded[1]}"
    raw = [server.predict(data).json["predictions"][0] for data in images]
    in_form = server.ask("/predict?top=7", *form(images)).json
    as_json = server.ask("/predict", json.dumps({"images": encoded}).encode(), {"Content-Type": "application/json"})
    for found in (raw, in_form["predictions"], as_json.json["predictions"]):
        assert len(found) == 5 and all(map(same, found, expected))
    assert [one["name"] for one in in_form["predictions"]] == [f"{i}.png" for i in range(5)]
    assert in_form["model"] == "m0" and in_form["protocol"] == "1-crop 32x32"
    (other,) = server.predict(images[0], "?model=other&top=3").json["predictions"]
    assert len(other["top"]) == 3 and same(other, offline(folder, images[:1], "m1")[0])


def test_clients_at_once_get_their_own_answers(server: Served, folder: Path) -> None:
    images = [noise(i) for i in range(24)]
    expected = offline(folder, images)
    replies = together(24, lambda i: server.predict(images[i]))
    assert all(same(reply.json["predictions"][0], want) for reply, want in zip(replies, expected))
    batches = re.search(r'batch_images_bucket{model="m0",le="1.*"} (\d+)', server.ask("/metrics").text)
    total = re.search(r'batch_images_count{model="m0"} (\d+)', server.ask("/metrics").text)
    assert batches and total and int(batches[1]) < int(total[1])  # some ran together


def test_an_image_is_decoded_as_predict_decodes_it(server: Served, folder: Path) -> None:
    names = [name for name in ODD if not name.lower().endswith("ppm")]
    images = [ODD[name][0] for name in names]
    expected = offline(folder, images)
    for at in range(0, len(images), 30):
        found = server.ask("/predict", *form(images[at : at + 30]))
        assert found.status == 200
        for name, one, want in zip(names[at:], found.json["predictions"], expected[at:]):
            assert same(one, want), name


def test_a_heat_map_is_given_where_it_is_asked_for(server: Served, folder: Path) -> None:
    image = noise(4, 50)
    plain = server.predict(image).json["predictions"][0]
    (found,) = server.predict(image, "?heatmap=true").json["predictions"]
    given = found.pop("heatmap")
    assert set(plain) == set(found) == {"name", "top"} and "heatmap" not in plain
    assert [one["class"] for one in found["top"]] == [one["class"] for one in plain["top"]]
    model = open_model(str(folder / "m0.safetensors"))
    net, protocol = model.classifier.net, model.about.protocol
    assert isinstance(net, Net)
    seen = next(views(decode(image, "").image, protocol, 32))
    x = model.classifier.normalised(torch.from_numpy(seen.transpose(2, 0, 1).copy())[None])
    answer = model.about.names.index(found["top"][0]["class"])
    expected = grad_cam(net, x, answer)
    assert (given["height"], given["width"]) == expected.shape and given["upright"]
    values = torch.tensor(given["values"]).view(expected.shape)
    assert torch.allclose(values.float(), 255 * expected / expected.max(), atol=1.5)
    assert given["view"] == {"left": 0, "top": 0, "right": 1, "bottom": 1}
    field = given["field"]
    assert 0 <= field["left"] < field["right"] <= 1 and 0 <= field["top"] < field["bottom"] <= 1
    assert server.predict(image, "?heatmap=perhaps").status == 422
    several = server.ask("/predict?heatmap=true", *form([image, b"no image", image])).json["predictions"]
    assert several[0]["heatmap"] == several[2]["heatmap"] and "heatmap" not in several[1]


# --- wrong images ----------------------------------------------------------------------------------------------------


def test_a_bad_image_has_its_reason_and_its_status(server: Served) -> None:
    wrong = {name: made for name, (made, _) in BAD.items() if isinstance(made, bytes) and not name.endswith(".tga")}
    for name, data in wrong.items():
        reply = server.predict(data)
        assert reply.status in (400, 413, 415), (name, reply)
        assert reply.json.get("detail") or reply.json["predictions"][0]["error"], name
    assert server.predict(b"").status == 400
    assert server.predict(b"<html>").status == 415
    assert "an HTML page" in server.predict(b"<html>").text
    assert server.predict(png(12000, 9000, 8, 0)).status == 413


def test_one_bad_image_of_eight_is_one_error(server: Served, folder: Path) -> None:
    images = [noise(i) for i in range(8)]
    expected = offline(folder, images)
    for bad in (0, 3, 7):
        sent = [data if i != bad else data[:-30] for i, data in enumerate(images)]
        found = server.ask("/predict", *form(sent))
        assert found.status == 200
        for i, one in enumerate(found.json["predictions"]):
            assert one["error"].startswith("truncated") if i == bad else same(one, expected[i])
        replies = together(8, lambda i, sent=sent: server.predict(sent[i]))  # type: ignore[misc]
        assert [reply.status for reply in replies] == [400 if i == bad else 200 for i in range(8)]
        assert all(same(r.json["predictions"][0], e) for r, e in zip(replies, expected) if r.status == 200)


def mutants(server: Served, count: int, seed: int) -> Counter[int]:
    chance, seen = random.Random(seed), Counter[int]()
    for _ in range(count):
        reply = server.predict(mutant(chance.choice(list(FORMATS.values())), chance))
        seen[reply.status] += 1
        assert reply.status in (200, 400, 413, 415), reply
    return seen


def test_damaged_images_are_read_or_refused(server: Served) -> None:
    assert len(mutants(server, 60, 1)) > 1


# --- wrong requests --------------------------------------------------------------------------------------------------

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
MALFORMED: dict[str, tuple[tuple[bytes, ...], set[int]]] = {
    "too long by its own account": ((HEAD + b"Content-Length: 999999999\r\n\r\n",), {413}),
    "no length": ((HEAD + b"\r\n",), {400}),
    "two lengths": ((HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",), {400}),
    "a length that is none": ((HEAD + b"Content-Length: -3\r\n\r\nabc",), {400}),
    "an encoding": ((HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",), {415}),
    "a type that is unknown": ((HEAD + b"Content-Type: text/csv\r\nContent-Length: 3\r\n\r\nabc",), {415}),
    "a form without boundary": ((HEAD + b"Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc",), {400}),
    "a form without end": (
        (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\n--x\r\n",), {400},
    ),
    "JSON that is none": ((HEAD + b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{{{",), {400}),
    "a body that breaks off": ((HEAD + b"Content-Length: 500\r\n\r\nabc",), {0, 400}),
    "a chunk that is none": ((HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",), {400}),
    "another method": ((b"DELETE /predict HTTP/1.1\r\nHost: localhost\r\n\r\n",), {405}),
    "no method": ((b"\r\n\r\n\r\nNONSENSE\r\n\r\n",), {400}),
    "TLS": ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), {0, 400}),
    "no host": ((b"GET /models HTTP/1.1\r\n\r\n",), {400}),
    "two hosts": ((b"GET /models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",), {400}),
    "a foreign host": ((b"GET /models HTTP/1.1\r\nHost: evil.example\r\n\r\n",), {403}),
    "a foreign host's number": ((b"GET /models HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n",), {403}),
    "a foreign page": (
        (HEAD + b"Origin: http://evil.example\r\nContent-Length: 3\r\n\r\nabc",), {403},
    ),
    "a preflight": (
        (b"OPTIONS /predict HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",), {403},
    ),
    "a whole address": ((b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",), {400, 404}),
    "a long head without end": ((b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000,), {0, 400, 431}),
    "an upgrade": ((b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",), {200}),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_wrong_request_has_a_status_and_does_no_harm(server: Served, name: str) -> None:
    parts, expected = MALFORMED[name]
    status, got = server.raw(*parts)
    assert status in expected, got
    assert b"access-control-allow-origin" not in got.lower() and b"uvicorn" not in got
    assert server.ask("/health").status == 200


def test_a_body_without_a_length_is_cut_off_at_the_limit(server: Served) -> None:
    chunk = b"%x\r\n%s\r\n" % (10_000, bytes(10_000))
    sent, got = 0, b""
    with server.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 50 * CAP:
                client.sendall(chunk)
                sent += len(chunk)
            got = client.recv(65536)
        except ConnectionError:
            pass
    assert sent < 50 * CAP or b" 413 " in got  # what more was sent lay in the system's buffers


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/%2e%2e/etc/passwd", "/docs/..%2f..%2fetc/passwd", "/%00", "//etc/passwd", "/\\etc\\passwd",
     "/report.css", "/static/../app.py", "/docs%00.html", "/openapi.json/"],
)  # fmt: skip
def test_no_path_leads_to_a_file(server: Served, path: str) -> None:
    status, got = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status in (400, 404, 307) and b"root:" not in got


def test_an_address_is_no_image(server: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/cat.jpg"
        body = json.dumps({"images": [address]}).encode()
        reply = server.ask("/predict", body, {"Content-Type": "application/json"})
        assert reply.status == 400 and "not fetched" in reply.json["detail"]
        assert server.predict(address.encode()).status == 415
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    ("query", "status"), [("?top=0", 422), ("?top=x", 422), ("?model=nobody", 404), ("?top=1000", 200)]
)
def test_arguments_are_checked(server: Served, query: str, status: int) -> None:
    reply = server.predict(noise(1), query)
    assert reply.status == status
    assert status == 200 or {"error", "detail", "request_id"} <= reply.json.keys()


def test_a_client_that_leaves_frees_its_place(server: Served) -> None:
    data = noise(3)
    head = HEAD + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(data)
    for i in range(100):
        client = server.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(head + (data if i % 2 else data[:50]))
        client.close()  # which resets the connection
    waiting = re.compile(r'images_waiting{model="m0"} 0\n')
    end = time.monotonic() + 10
    while not waiting.search(server.ask("/metrics").text):
        assert time.monotonic() < end
    assert server.predict(data).status == 200


def test_more_than_the_queue_holds_is_turned_away_at_once(server: Served) -> None:
    body, headers = form([noise(i, 33) for i in range(40)])
    replies = together(6, lambda i: server.ask("/predict", body, headers))
    seen = Counter(reply.status for reply in replies)
    assert seen[200] >= 1 and seen[429] >= 1 and seen.total() == seen[200] + seen[429], seen
    assert all(reply.headers["retry-after"] == "1" for reply in replies if reply.status == 429)
    assert server.ask("/predict", *form([noise(0)] * 65)).status == 413


# --- what it says of itself ------------------------------------------------------------------------------------------


def test_it_says_what_it_serves(server: Served) -> None:
    (first, second) = server.ask("/models").json
    assert (first["name"], second["name"]) == ("m0", "other") and first["ready"]
    card = first["card"]
    assert (card["network"], card["classes"], card["protocol"], card["views"]) == ("tiny", 7, "1-crop 32x32", 1)
    assert card["receptive_field"] == 5 + 2 * 3  # a kernel of 5, then one of 3 at steps of 3
    assert server.ask("/ready").status == 200
    openapi = server.ask("/openapi.json").json
    assert set(openapi["paths"]) == {"/predict", "/models", "/health", "/ready", "/metrics"}
    metrics = server.ask("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    sample = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in metrics.text.splitlines())


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/nothing"])
def test_head_is_get_without_the_body(server: Served, path: str) -> None:
    whole, head = server.ask(path), server.ask(path, method="HEAD")
    assert head.status == whole.status and not head.text
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert server.ask("/predict", method="HEAD").status == 405


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_nothing_else(server: Served, path: str) -> None:
    page = server.ask(path)
    assert page.status == 200 and page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)
    assert not re.search(r"\son[a-z]+=|style=", page.text)  # neither would run under the policy


def test_nothing_of_the_inside_is_told(server: Served, folder: Path) -> None:
    replies = [
        server.predict(b"nonsense"), server.ask("/nothing"), server.predict(noise(1), "?model=/etc/passwd"),
        server.ask("/predict", b"{", {"Content-Type": "application/json"}), server.predict(ODD["1 bit.png"][0][:60]),
    ]  # fmt: skip
    for reply in replies:
        assert reply.status >= 400 and reply.headers["x-request-id"]
        assert str(folder) not in reply.text and "Traceback" not in reply.text and ".py" not in reply.text


# --- its life --------------------------------------------------------------------------------------------------------


def test_a_dead_worker_loses_its_images_alone_and_a_signal_ends_after_the_last_answer(folder: Path) -> None:
    arguments = [str(folder / "m0.safetensors"), f"b={folder / 'm1.safetensors'}", "--batch-wait-ms", "1500"]
    with served(folder, *arguments, TOPFIVE_TOKEN="secret") as server:
        bearer = {"Authorization": "Bearer secret", "Content-Type": "image/png"}
        assert server.ask("/predict", noise(0)).status == 401
        assert server.ask("/models", headers={"Authorization": "Bearer Secret"}).status == 401
        assert server.ask("/health").status == server.ask("/").status == 200
        first, second = sorted(server.workers, key=lambda process: process.create_time())
        replies: dict[str, Reply] = {}

        def send(model: str) -> threading.Thread:
            def predict() -> None:
                replies[model] = server.ask(f"/predict?model={model}", noise(0), bearer)

            thread = threading.Thread(target=predict)
            thread.start()
            return thread

        first.suspend(), second.suspend()  # so that both have their image for a while
        clients = [send("m0"), send("b")]
        time.sleep(0.7)
        first.kill()
        second.resume()
        for client in clients:
            client.join()
        lost = replies["m0"] if replies["m0"].status != 200 else replies["b"]
        assert sorted(reply.status for reply in replies.values()) == [200, 503]
        assert "ended" in lost.text and lost.headers["retry-after"] == "1"
        assert server.ask("/ready").status == 503 and server.ask("/health").status == 200
        end = time.monotonic() + 60
        while server.ask("/ready").status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        for worker in server.workers:
            worker.suspend()
        last = send("m0")
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for worker in server.workers:
            worker.resume()
        assert server.process.wait(30) == 0
        last.join()
        assert replies["m0"].status == 200
        with pytest.raises(ConnectionError):
            server.connect()
        assert not first.is_running() and not second.is_running()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["serve", *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.onnx", "x.xml", "x.pt2"])
def test_an_exported_file_is_not_served_and_is_called_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    starts = {"x.onnx": b"\x08\x08\x12\x07", "x.xml": b"<?xml version='1.0'?><net>", "x.pt2": b"PK\x03\x04"}
    (tmp_path / name).write_bytes(starts[name] + bytes(60))
    code, said = refused(capsys, str(tmp_path / name))
    assert code == 4 and "it is an exported file" in said and "a run folder or a file of weights" in said


def test_what_cannot_be_served_is_said_at_the_start(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert refused(capsys) == (2, "topfive: name a model: a run folder or a file of weights\n")
    model = str(folder / "m0.safetensors")
    assert refused(capsys, model, "--max-batch", "0")[0] == 2
    for option in ("--timeout", "--max-body-mb", "--batch-wait-ms"):
        code, said = refused(capsys, model, option, "nan")
        assert code == 2 and option in said
    assert "has no name" in refused(capsys, f"={model}")[1]
    assert "second=" in refused(capsys, model, model)[1]
    (folder / "bad.safetensors").write_bytes(b"\x10" + bytes(60))
    assert refused(capsys, str(folder / "bad.safetensors"))[0] == 4
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = refused(capsys, model, "--port", str(taken.getsockname()[1]))
    assert code == 5 and "another program has that port" in said
