"""Public sets by name, from a server of this test's own: broken, changed, refused, damaged."""

import ast
import errno
import gzip
import hashlib
import io
import os
import random
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from topfive import system
from topfive.data import downloads, fetching
from topfive.data.fetching import data_folder, fetch, fetch_file, fetch_weights, fetched
from topfive.data.public_sets import PUBLIC, PublicSet, Published
from topfive.errors import DataError, Interrupted, ResourceError, TopfiveError, UsageError
from topfive.weights.libraries import Known


def toy_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(3):
            info = tarfile.TarInfo(f"toy/train/a/{i}.bin")
            info.size = 100_000
            tar.addfile(info, io.BytesIO(random.Random(i).randbytes(info.size)))
    return out.getvalue()


TAR = toy_tar()
TGZ = gzip.compress(TAR, mtime=0)
OTHER = bytes(value ^ 1 for value in TGZ)
HALF = len(TGZ) // 2


class Server(ThreadingHTTPServer):
    """One file, and the ways in which a server may go wrong; `asked` lists (Range or None, bytes of body sent)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag = TGZ, '"one"'
        self.ranges = self.if_range = self.length = True
        self.faults: list[int] = []  # HTTP codes to answer with first
        self.breaks: list[int] = []  # bytes after which the first connections break off
        self.asked: list[tuple[str | None, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/toy.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        if server.faults:
            server.asked.append((asked, 0))
            self.send_error(server.faults.pop(0))
            return
        same = not server.if_range or self.headers["If-Range"] in (None, server.tag)
        start = int(asked[6:-1]) if asked and server.ranges and same else 0
        if start >= len(server.content):
            server.asked.append((asked, 0))
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        if server.breaks:
            body = body[: server.breaks.pop(0)]
        server.asked.append((asked, len(body)))  # before the body, which may end the test
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.length:
            self.send_header("Content-Length", str(len(server.content) - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        publish(monkeypatch, server.url, TGZ)
        monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0, 0.0))
        yield server
        server.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes) -> None:
    hashes = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(PUBLIC, "toy", PublicSet("toy", url, len(content), *hashes, ""))


def refused(kind: type[TopfiveError], folder: Path) -> str:
    """The one sentence with which `toy` is refused; nothing may then lie under the final name."""
    with pytest.raises(kind, match=r"^[^\n]*$") as raised:
        fetch("toy", folder)
    assert fetched("toy", folder) is None and not (folder / "toy.tar").exists()
    return str(raised.value)


def leave_half(server: Server, folder: Path) -> None:
    """What an interrupted download leaves behind."""

    def stop(doing: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    server.breaks = [HALF]
    with pytest.raises(Interrupted, match="of 0 MB are kept, and the same command continues"):
        fetch("toy", folder, progress=stop)
    server.asked.clear()
    # why: how much of the first half was written before the interruption is a matter of timing
    part = folder / "toy.tgz.part"
    part.write_bytes(server.content[:HALF])


def test_a_set_is_fetched_whole_once_and_kept_as_a_plain_tar(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    tar = fetch("toy", tmp_path / "new", progress=lambda *what: seen.append(what))
    assert tar.read_bytes() == TAR and tar == fetched("toy", tmp_path / "new")
    assert sorted(path.name for path in tar.parent.iterdir()) == ["toy.json", "toy.tar"]
    assert [done for doing, done, _ in seen if doing == "fetching toy"][-1] == seen[0][2] == len(TGZ)
    assert fetch("toy", tmp_path / "new") == tar and server.asked == [(None, len(TGZ))]


def test_a_tar_that_is_not_what_its_receipt_says_is_not_there(server: Server, tmp_path: Path) -> None:
    tar = fetch("toy", tmp_path)
    tar.write_bytes(TAR[:-512])
    assert fetched("toy", tmp_path) is None
    assert fetch("toy", tmp_path).read_bytes() == TAR
    PUBLIC["toy"] = replace(PUBLIC["toy"], md5="0" * 32)  # another release
    assert fetched("toy", tmp_path) is None
    (tmp_path / "toy.json").write_text("[")
    assert fetched("toy", tmp_path) is None


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = [HALF, 1000, 1]
    assert fetch("toy", tmp_path).read_bytes() == TAR
    starts = [HALF, HALF + 1000, HALF + 1001]
    assert [asked for asked, _ in server.asked] == [None, *(f"bytes={start}-" for start in starts)]
    assert sum(sent for _, sent in server.asked) == len(TGZ)


def test_an_interrupted_download_is_taken_up_by_the_next_call(server: Server, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    assert fetch("toy", tmp_path).read_bytes() == TAR
    assert server.asked == [(f"bytes={HALF}-", len(TGZ) - HALF)]


def test_a_part_that_is_whole_asks_for_nothing_and_one_too_long_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.tgz.part").write_bytes(TGZ)
    assert fetch("toy", tmp_path).read_bytes() == TAR and server.asked == []
    (tmp_path / "toy.tar").unlink()
    (tmp_path / "toy.tgz.part").write_bytes(TGZ + b"x")
    assert fetch("toy", tmp_path).read_bytes() == TAR and server.asked == [(None, len(TGZ))]


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_in_between_is_not_glued_to_the_old_part(
    server: Server, tmp_path: Path, if_range: bool
) -> None:
    server.content, server.if_range = OTHER, if_range
    leave_half(server, tmp_path)
    server.content, server.tag = TGZ, '"two"'
    assert fetch("toy", tmp_path).read_bytes() == TAR
    assert server.asked[-1][1] == len(TGZ) and len(server.asked) == (1 if if_range else 2)


def test_a_server_without_ranges_begins_anew_and_not_for_ever(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    leave_half(server, tmp_path)
    server.breaks = [HALF] * 100
    assert "broke off" in refused(ResourceError, tmp_path) and len(server.asked) == 4
    server.breaks = []
    assert fetch("toy", tmp_path).read_bytes() == TAR


def test_a_part_that_the_server_has_no_more_of_begins_anew(server: Server, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    server.faults = [416]
    assert fetch("toy", tmp_path).read_bytes() == TAR
    assert [asked for asked, _ in server.asked] == [f"bytes={HALF}-", None]


def test_wrong_bytes_are_thrown_away_and_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.content = TGZ[:-1] + bytes([TGZ[-1] ^ 1])
    says = refused(DataError, tmp_path)
    assert hashlib.md5(server.content).hexdigest() in says and hashlib.md5(TGZ).hexdigest() in says
    assert list(tmp_path.iterdir()) == []
    server.content = TGZ
    assert fetch("toy", tmp_path).read_bytes() == TAR


def test_each_published_hash_is_compared(server: Server, tmp_path: Path) -> None:
    PUBLIC["toy"] = replace(PUBLIC["toy"], sha256="0" * 64)
    assert hashlib.sha256(TGZ).hexdigest() in refused(DataError, tmp_path)


def test_a_file_keeps_its_name_and_has_its_published_sha512(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha512(TGZ).hexdigest()
    public = Published("toy", server.url, len(TGZ), None, None, sha512=digest)
    assert fetch_file(public, tmp_path) == tmp_path / "toy.tgz" == fetch_file(public, tmp_path)
    assert (tmp_path / "toy.tgz").read_bytes() == TGZ and len(server.asked) == 1
    with pytest.raises(DataError, match="sha512"):
        fetch_file(replace(public, sha512=digest[::-1]), tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_another_number_of_bytes_is_refused_before_they_come(server: Server, tmp_path: Path) -> None:
    leave_half(server, tmp_path)
    server.content, server.ranges = b"<html>please log in</html>", False
    assert "has 26 bytes" in refused(DataError, tmp_path)
    assert (tmp_path / "toy.tgz.part").stat().st_size == HALF  # the page of a hotel does not cost what came before
    server.length, server.content = False, TGZ + b"x"
    assert "more than" in refused(DataError, tmp_path)


@pytest.mark.parametrize(
    ("faults", "tries", "says"),
    [([404] * 9, 1, "nothing is at"), ([403] * 9, 1, "HTTP 403"), ([503] * 9, 4, "HTTP 503")],
)
def test_what_a_server_refuses_is_one_sentence(
    server: Server, tmp_path: Path, faults: list[int], tries: int, says: str
) -> None:
    server.faults = faults
    assert says in refused(ResourceError, tmp_path) and len(server.asked) == tries
    assert list(tmp_path.iterdir()) == []


def test_a_fault_that_passes_is_not_told(server: Server, tmp_path: Path) -> None:
    server.faults = [503, 500, 429]
    assert fetch("toy", tmp_path).read_bytes() == TAR


def test_a_server_that_is_not_there_or_silent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        publish(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/toy.tgz", TGZ)
        assert "refuses the connection" in refused(ResourceError, tmp_path)
        taken.listen()  # takes connections and never answers
        monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
        assert "did not answer" in refused(ResourceError, tmp_path)


def test_without_a_network_one_sentence_and_no_waiting(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half(server, tmp_path)
    # why not time's own: threads of other tests may sleep
    clock = SimpleNamespace(sleep=lambda seconds: pytest.fail("waited for a network"))
    monkeypatch.setattr(downloads, "time", clock)

    def unknown(*args: object, **more: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def unreachable(*args: object, **more: object) -> object:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    says = refused(ResourceError, tmp_path)
    assert "was not found" in says and "are kept, and the same command continues" in says
    monkeypatch.setattr(socket, "create_connection", unreachable)
    assert "there is no network" in refused(ResourceError, tmp_path)


def test_a_gzip_that_is_cut_or_a_bomb_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, says in ((TGZ[:-100], "damaged"), (gzip.compress(bytes(2**22)), "more than 20 times")):
        server.content = content
        publish(monkeypatch, server.url, content)
        assert says in refused(DataError, tmp_path)
        assert list(tmp_path.glob("toy.tar*")) == []


def test_a_full_disk_is_found_before_or_during(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(downloads.shutil, "disk_usage", lambda path: type("Usage", (), {"free": len(TGZ)}))
        assert "make room" in refused(ResourceError, tmp_path) and server.asked == []
    leave_half(server, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fetching.os, "fsync", full)
        assert "no space is left" in refused(ResourceError, tmp_path)
    assert fetch("toy", tmp_path).read_bytes() == TAR
    assert sum(sent for _, sent in server.asked) == len(TGZ) - HALF


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file/below' cannot be written .* TOPFIVE_DATA$"):
        fetch("toy", tmp_path / "file" / "below")


def test_two_at_once_do_not_write_into_one_part(server: Server, tmp_path: Path) -> None:
    with open(tmp_path / "toy.tgz.part", "wb") as other:
        assert system.lock(other.fileno())
        assert "another process" in refused(ResourceError, tmp_path)
    assert server.asked == [] and fetch("toy", tmp_path).read_bytes() == TAR


@pytest.mark.parametrize("content", [TGZ, OTHER, TGZ[:-100]], ids=["whole", "another hash", "damaged"])
def test_no_open_file_is_renamed_or_removed_where_the_system_forbids_it(
    content: bytes, weights: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, played here: what is open has a descriptor in /proc/self/fd."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not list what is open")
    moved = []

    def closed(path: Path) -> None:
        held = {os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
        assert str(path) not in held, f"{path} is open"
        moved.append(path.name)

    replace, unlink = Path.replace, Path.unlink
    monkeypatch.setattr(Path, "replace", lambda path, to: (closed(path), replace(path, to))[1])
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: (closed(path), unlink(path, missing_ok))[1])
    monkeypatch.setattr(system, "OPEN_FILES_MOVE", False)
    weights.content = content
    publish(monkeypatch, weights.url, content if len(content) != len(TGZ) else TGZ)
    for fetching_it in (lambda: fetch("toy", tmp_path), lambda: fetch_weights("toy", tmp_path)):
        with suppress(DataError, ResourceError):
            fetching_it()
    assert "toy.tgz.part" in moved
    assert not list(tmp_path.glob("*.part")) or len(content) != len(TGZ)


def test_names_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cifar-10"):
        fetch("cifar10", tmp_path)
    with pytest.raises(UsageError, match="https://"):
        fetch("cifar-10", tmp_path, url="file:///etc/passwd")
    for name in ("TOPFIVE_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_folder() == Path("/home/someone/.local/share/topfive")
    monkeypatch.setenv("XDG_DATA_HOME", "/share")
    assert data_folder() == Path("/share/topfive")
    monkeypatch.setenv("TOPFIVE_DATA", "~/sets")
    assert data_folder() == Path("/home/someone/sets")


def test_what_is_published_is_well_formed() -> None:
    assert list(PUBLIC) == ["cifar-10", "cifar-100", "imagenette", "imagenette-160", "imagewoof"]
    for public in PUBLIC.values():
        assert public.url.startswith("https://") and public.tar.endswith(".tar") and ".gz" not in public.tar
        assert len(bytes.fromhex(public.md5)) == 16
        assert public.sha256 is None or len(bytes.fromhex(public.sha256)) == 32
    assert len({public.tar for public in PUBLIC.values()}) == len({p.md5 for p in PUBLIC.values()}) == len(PUBLIC)


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has weights, whose size is published rounded and whose hash by its first digits."""
    digits = hashlib.sha256(TGZ).hexdigest()[:8]
    url = server.url.replace("toy.tgz", f"toy-{digits}.pth")
    facts = {"library": "us", "name": "toy", "version": "V1", "network": "lenet", "crop": 2, "resize": 2}
    known = Known(**facts, top1=1, top5=5, url=url, sha256=digits, mib=round(len(TGZ) / 2**20, 3))  # type: ignore[arg-type]
    assert known.mib and round(known.mib * 2**20) != len(TGZ)
    monkeypatch.setattr(fetching, "fetchable", lambda name: known)
    return server


def test_weights_are_fetched_once_and_keep_their_name(weights: Server, tmp_path: Path) -> None:
    weights.breaks = [HALF, 1000]
    path = fetch_weights("toy", tmp_path)
    assert path.read_bytes() == TGZ and path.name.startswith("toy-") and list(tmp_path.iterdir()) == [path]
    assert [asked for asked, _ in weights.asked] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert fetch_weights("toy", tmp_path) == path and len(weights.asked) == 3


def test_a_part_of_weights_that_is_whole_is_not_fetched_again(weights: Server, tmp_path: Path) -> None:
    part = tmp_path / f"toy-{hashlib.sha256(TGZ).hexdigest()[:8]}.pth.part"
    part.write_bytes(TGZ)
    assert fetch_weights("toy", tmp_path).read_bytes() == TGZ
    assert weights.asked == [(f"bytes={len(TGZ)}-", 0)]


@pytest.mark.parametrize("length", [True, False])
def test_weights_of_another_hash_are_thrown_away(weights: Server, tmp_path: Path, length: bool) -> None:
    weights.content, weights.length = OTHER, length
    with pytest.raises(
        DataError, match=rf"sha256 {hashlib.sha256(OTHER).hexdigest()} and not the published [0-9a-f]{{8}}:"
    ):
        fetch_weights("toy", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_size_are_refused_before_they_come(weights: Server, tmp_path: Path) -> None:
    weights.content = TGZ + bytes(2000)
    with pytest.raises(DataError, match="log-in page"):
        fetch_weights("toy", tmp_path)
    assert weights.asked[0][1] == len(weights.content) and list(tmp_path.iterdir()) == []


def test_weights_without_a_network(weights: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **more: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        ResourceError, match=r"^toy\.V1 cannot be fetched: the host .* was not found[^\n]*nothing came yet$"
    ):
        fetch_weights("toy", tmp_path)
    with pytest.raises(UsageError, match="https://"):
        fetch_weights("toy", tmp_path, url="file:///etc/passwd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.peers
def test_imagenettes_addresses_hashes_and_words_are_torchvisions() -> None:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchvision is not installed; `make peers` has it")
    source = (Path(spec.origin).parent / "datasets" / "imagenette.py").read_text()  # read, since its import is slow
    stated = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
    }
    for name, size in (("imagenette", "full"), ("imagenette-160", "160px")):
        assert (PUBLIC[name].url, PUBLIC[name].md5) == stated["_ARCHIVES"][size]
        assert PUBLIC[name].words == {wnid: words[0] for wnid, words in stated["_WNID_TO_CLASS"].items()}
