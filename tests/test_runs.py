"""A run's folder under every blow that we can deal it: killed at each call, failing disks, full disks, flipped bits.

After each one the newest checkpoint that is found is whole, it is the one that was being saved or the one before it,
and the next start works. A power cut itself is not tried; that the order of the calls allows for one is.
"""

import errno
import inspect
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from topfive.cli import main
from topfive.data import files as data_files
from topfive.errors import RefusedError, ResourceError, UsageError
from topfive.results import seals
from topfive.results.checkpoints import Checkpoint, open_checkpoint
from topfive.results.runs import Run, find_runs, load_run, newest_in, open_run
from topfive.results.training import Begun, Reading, Stated

STATED = Stated(
    network={"name": "small", "body": {"layers": [{"type": "Conv", "channels": 64}, {"type": "Relu"}]}},
    name="small",
    recipe={"epochs": 20, "batch": 64, "lr": 0.05, "optimizer": {"type": "Sgd", "momentum": 0.9}, "seed": 0},
    size=32,
    source={"where": "/images/pets", "name": "pets", "fingerprint": "abc", "classes": ["cat", "cow", "dog"],
            "words": [], "train": 5880, "val": 1469, "split": "split here, seed 0", "upright": True, "notes": []},
    decoding="simplejpeg",
    machine={"processor": "EPYC", "device": "cpu"},
    versions={"topfive": "0.1.0", "torch": "2.12"},
    command=["topfive", "train", "small"],
    world=1,
    made="2026-11-24T10:00:00",
)  # fmt: skip

CALLS = ("open", "write", "ftruncate", "fsync", "replace", "mkdir", "unlink", "rmdir")
SYSTEM_CALLS = ("openat", "write", "ftruncate", "fsync", "rename", "renameat", "renameat2", "mkdir",
                "mkdirat", "unlink", "unlinkat", "rmdir")  # fmt: skip
STRACE = ["strace", "-f", "-qq", "-y", "-s", "300"]  # why: not --seccomp-bpf, with which signals are not injected


def content(step: int) -> dict[str, bytes]:
    """The files of a checkpoint."""
    sizes = {"weights.safetensors": 2000, "state.safetensors": 4000, "state.json": 20}
    return {name: f"{name} {step} ".encode() * size for name, size in sizes.items()}


SAVING = f"""
import sys
from pathlib import Path
import msgspec
from topfive.results.runs import Stated, open_run

{inspect.getsource(content)}

run = open_run(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Stated))
print("open", flush=True)
for step in map(int, sys.argv[3:]):
    run.save(step, content(step), {{"step": step}})
    run.write_rows([{{"step": done}} for done in range(step + 1)])
run.close()
"""


def child(script: str, folder: Path, *more: object) -> list[str]:
    """The command that runs a script in a process of its own, with a folder and what the run is."""
    return [sys.executable, "-B", "-c", script, str(folder), msgspec.json.encode(STATED).decode(), *map(str, more)]


def save(run: Run, *steps: int, kind: str = "step") -> None:
    for step in steps:
        run.save(step, content(step), {"step": step}, kind)


def made(folder: Path, *steps: int) -> Path:
    """A run that saved these steps and was closed."""
    with open_run(folder, STATED) as run:
        save(run, *steps)
        run.write_rows([{"step": step} for step in range(steps[-1] + 1)] if steps else [])
    return folder


def whole(checkpoint: Checkpoint | None) -> int:
    """The checkpoint's step; its bytes are those that were saved."""
    assert checkpoint is not None
    assert {name: checkpoint.read(name) for name in checkpoint.files} == content(checkpoint.step)
    assert checkpoint.about == {"step": checkpoint.step}
    return checkpoint.step


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def goes_on(folder: Path, step: int) -> int | None:
    """The step that the next start continues from; it can save another one, and nothing unfinished is left."""
    with open_run(folder, STATED) as run:
        assert leftovers(folder) == []
        found = run.newest()
        assert run.notes == []  # nothing damaged had to be skipped
        assert run.rows() in ([{"step": at} for at in range(length)] for length in range(step + 2))
        save(run, step)
        assert whole(run.newest()) == step
    assert leftovers(folder) == []
    return None if found is None else found.step if found.step == step else whole(found)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: on a disk the thousands of fsyncs take minutes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "PAUSES", (0.0, 0.0, 0.0))


# --- what it is for -------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    with open_run(tmp_path / "a" / "run", STATED) as run:
        assert run.newest() is None and run.rows() == [] and run.notes == []
        folder = run.save(7, content(7), {"step": 7})
        assert folder == tmp_path / "a" / "run" / "checkpoints" / "step-00000007"
        assert whole(run.newest()) == 7
        run.write_rows([{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "words": "naïve\n\u2028"}])
        assert run.rows() == [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "words": "naïve\n\u2028"}]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["version"] == 1 and manifest["about"] == {"step": 7}
    assert manifest["files"]["state.json"]["bytes"] == len(content(7)["state.json"])
    shutil.move(folder, tmp_path / "of my own")
    assert whole(open_checkpoint(tmp_path / "of my own")) == 7


def test_readers_need_no_lock(tmp_path: Path) -> None:
    with open_run(tmp_path / "b" / "run", STATED) as run:
        save(run, 9, 10)
        assert whole(newest_in(tmp_path / "b" / "run")) == 10
        (tmp_path / "b" / "run" / "checkpoints" / "step-00000010" / "state.json").unlink()
        assert whole(newest_in(tmp_path / "b" / "run")) == 9
        made(tmp_path / "a", 1)
        made(tmp_path / "a" / "within", 1)
        assert load_run(tmp_path / "b" / "run") == STATED
        assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "b" / "run"]
    with pytest.raises(UsageError, match=r"b is no run: it holds no run\.json"):
        load_run(tmp_path / "b")


def test_runs_are_read_and_written_without_torch_or_numpy() -> None:
    script = "import sys, topfive.results.runs; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_last_two_steps_and_the_best_are_kept_by_number(tmp_path: Path) -> None:
    with open_run(tmp_path, STATED) as run:
        save(run, 9, 10, 100)
        assert names(tmp_path) == ["step-00000010", "step-00000100"]
        save(run, 99_999_999, 100_000_000)  # by name the latter comes first
        assert whole(run.newest()) == 100_000_000
        assert names(tmp_path) == ["step-100000000", "step-99999999"]
        save(run, 3, 4, kind="best")
        assert names(tmp_path) == ["best-00000004", "step-100000000", "step-99999999"]
        assert whole(run.newest("best")) == 4


def test_saving_a_step_again_changes_nothing_unless_it_was_damaged(tmp_path: Path) -> None:
    with open_run(tmp_path, STATED) as run:
        save(run, 1, 2)
        state = tmp_path / "checkpoints" / "step-00000002" / "state.json"
        before = state.stat()
        save(run, 2)
        assert state.stat() == before
        state.write_bytes(b"")
        save(run, 2)
        assert whole(run.newest()) == 2 and names(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path: Path) -> None:
    with open_run(tmp_path, STATED) as run:
        save(run, 1, 2)
        (tmp_path / "checkpoints" / "step-00000002" / "state.json").unlink()
        assert whole(run.newest()) == 1
        save(run, 3)
        assert names(tmp_path) == ["step-00000001", "step-00000003"]


# --- killed ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    tried = subprocess.run([*STRACE, "-o", os.devnull, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


def traced(command: list[str], folder: Path, log: Path) -> list[tuple[str, int, str]]:
    """(call, how many of its kind there were with it, line) of every call that concerns the folder, in order."""
    calls = ",".join(SYSTEM_CALLS)
    subprocess.run([*STRACE, "-e", f"trace={calls}", "-o", str(log), *command], check=True)
    seen: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if match := re.match(r"\d+ +(\w+)\(", line):
            seen[match[1]] += 1
            if str(folder) in line and "ENOENT" not in line:
                found.append((match[1], seen[match[1]], line))
    return found


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("before", [(0, 1), pytest.param((), marks=pytest.mark.slow)], ids=["third", "first"])
def test_a_process_killed_at_any_call_leaves_the_new_checkpoint_or_the_one_before(
    tmp_path: Path, before: tuple[int, ...]
) -> None:
    folder, kept, step = tmp_path / "run", tmp_path / "kept", len(before)
    if before:
        made(kept, *before)

    def afresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if before:
            shutil.copytree(kept, folder)

    afresh()
    points = [(call, at) for call, at, _ in traced(child(SAVING, folder, step), folder, tmp_path / "log")]
    assert len(points) > 40 and {"openat", "write", "fsync", "rename", "mkdir"} < {call for call, _ in points}
    found: Counter[int | None] = Counter()
    for call, at in points:
        afresh()
        blow = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={at}", "-o", os.devnull]
        ended = subprocess.run([*STRACE, *blow, *child(SAVING, folder, step)], capture_output=True)
        assert ended.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (call, at, ended)
        found[goes_on(folder, step)] += 1
    print(f"killed at {len(points)} calls; resumed from {dict(found)}")
    assert set(found) == {step, step - 1 if before else None}


class Killed(BaseException):
    """The process is no more; no handler of OSError sees this."""


@contextmanager
def watched(decide: Callable[[str, int], BaseException | None]) -> Iterator[list[tuple[str, str, str]]]:
    """Records (call, path, second path) of os functions; `decide(call, how many there were)` may make one fail."""
    recorded: list[tuple[str, str, str]] = []

    def place(argument: object, dir_fd: int | None = None) -> str:
        if isinstance(argument, int):
            return os.readlink(f"/proc/self/fd/{argument}")
        return os.path.join(place(dir_fd), str(argument)) if dir_fd is not None else str(argument)

    def replaced(call: str) -> Callable[..., Any]:
        real = getattr(os, call)

        def made(*given: Any, **named: Any) -> Any:
            at = place(given[0], named.get("dir_fd"))
            recorded.append(("rename", at, place(given[1])) if call == "replace" else (call, at, ""))
            if error := decide(call, len(recorded)):
                raise error
            return None if call == "fsync" else real(*given, **named)  # why: a thousand of them take minutes

        return made

    with pytest.MonkeyPatch.context() as patch:
        for call in CALLS:
            patch.setattr(os, call, replaced(call))
        yield recorded


def everything(folder: Path) -> None:
    """Open, save the third checkpoint, write the rows."""
    with open_run(folder, STATED) as run:
        save(run, 2)
        run.write_rows([{"step": step} for step in range(3)])


def _dying(at: int) -> Callable[[str, int], Killed | None]:
    """Fails from a call on, so that nothing that a dead process could not do is done."""
    return lambda call, count: Killed() if count >= at else None


def test_the_same_without_strace(tmp_path: Path) -> None:
    kept = made(tmp_path / "kept", 0, 1)
    found: Counter[int | None] = Counter()
    for at in range(1, 1000):
        folder = Path(shutil.copytree(kept, tmp_path / str(at)))
        try:
            with watched(_dying(at)):
                everything(folder)
        except Killed:
            found[goes_on(folder, 2)] += 1
        else:
            break
        shutil.rmtree(folder)
    assert at > 40 and set(found) == {1, 2}


def test_a_kill_while_a_damaged_checkpoint_is_replaced_costs_no_other(tmp_path: Path) -> None:
    kept = made(tmp_path / "kept", 0, 1, 2)
    (kept / "checkpoints" / "step-00000002" / "manifest.json").unlink()
    for at in range(1, 1000):
        folder = Path(shutil.copytree(kept, tmp_path / str(at)))
        try:
            with watched(_dying(at)):
                everything(folder)
        except Killed:
            with open_run(folder, STATED) as run:
                assert whole(run.newest()) in (1, 2)
        else:
            break
        shutil.rmtree(folder)
    assert at > 40 and names(folder) == ["step-00000001", "step-00000002"]


@pytest.mark.slow
def test_a_process_killed_at_any_time_leaves_a_whole_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = made(tmp_path_factory.mktemp("on the disk"), 0)
    chance, last = random.Random(0), 0
    kills = 0
    while kills < 100 or last <= 100:  # why: a loaded machine saves less between two kills
        saving = child(SAVING, tmp_path, *range(last, last + 10_000))
        with subprocess.Popen(saving, stdout=subprocess.PIPE, text=True) as going:
            assert going.stdout and going.stdout.readline() == "open\n"  # why: how long a start takes is the machine's
            time.sleep(chance.uniform(0, 0.3))
            going.kill()
        kills += 1
        with open_run(tmp_path, STATED) as run:
            now = whole(run.newest())
        assert now >= last and leftovers(tmp_path) == []
        last = now


# --- the disk -------------------------------------------------------------------------------------------------------

ERRORS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_an_error_at_any_call_of_a_save_leaves_the_checkpoint_before_it(
    tmp_path: Path, number: int, lasting: bool
) -> None:
    kept = made(tmp_path / "kept", 0, 1)
    refused = 0
    for at in range(1, 1000):
        folder = Path(shutil.copytree(kept, tmp_path / str(at)))
        with open_run(folder, STATED) as run:
            try:
                with watched(_failing(number, at, lasting)) as calls:
                    save(run, 2)
            except ResourceError as error:
                refused += 1
                told = r"/checkpoints/step-00000002 cannot be written: .+ \(0\.1 MB needed, [\d,.]+ MB free\)"
                assert error.exit_code == 5 and re.fullmatch(re.escape(str(folder)) + told, str(error)), error
            else:
                assert whole(run.newest()) == 2
            assert whole(open_checkpoint(folder / "checkpoints" / "step-00000001")) == 1
            assert whole(run.newest()) in (1, 2)
        assert goes_on(folder, 2) in (1, 2)
        shutil.rmtree(folder)
        if len(calls) < at:
            break
    assert at > 20
    assert (refused == 0) == (number == errno.EIO and not lasting)  # what fails for a moment is tried again


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("before", [(0, 1), ()], ids=["a run", "a new run"])
def test_an_error_at_any_call_of_a_start_is_told_and_harms_nothing(
    tmp_path: Path, number: int, before: tuple[int, ...]
) -> None:
    kept = made(tmp_path / "kept", *before) if before else tmp_path / "none"
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        if before:
            shutil.copytree(kept, folder)
            (folder / "checkpoints" / "step-00000002.77.tmp").mkdir()
        try:
            with watched(_failing(number, at, True)) as calls:
                open_run(folder, STATED).close()
        except ResourceError as error:
            assert str(folder) in str(error) and os.strerror(number) in str(error)
        assert goes_on(folder, 2) == (1 if before else None)
        shutil.rmtree(folder)
        if len(calls) < at:
            break
    assert at > 8


def _failing(number: int, at: int, lasting: bool) -> Callable[[str, int], OSError | None]:
    return lambda call, count: OSError(number, os.strerror(number)) if count == at or (lasting and count > at) else None


def test_rows_that_cannot_be_written_leave_those_before_them(tmp_path: Path) -> None:
    with open_run(tmp_path, STATED) as run:
        run.write_rows([{"epoch": 1}])
        for at in range(1, 5):
            with (
                watched(_failing(errno.ENOSPC, at, True)),
                pytest.raises(ResourceError, match=r"rows\.jsonl cannot be"),
            ):
                run.write_rows([{"epoch": 1}, {"epoch": 2}])
            assert run.rows() == [{"epoch": 1}] and names(tmp_path) == []
        with watched(_failing(errno.EIO, 3, False)):
            run.write_rows([{"epoch": 1}, {"epoch": 2}])
        assert run.rows() == [{"epoch": 1}, {"epoch": 2}]
        assert run.notes == [f"{tmp_path}/rows.jsonl: Input/output error, tried again"]


@pytest.mark.parametrize(("number", "expected"), [(errno.EIO, 1), (errno.EMFILE, None), (errno.EACCES, None)])
def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: int | None
) -> None:
    made(tmp_path, 1, 2)
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.parent.name == "step-00000002":
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with open_run(tmp_path, STATED) as run:
        if expected is None:
            with pytest.raises(ResourceError, match=r"step-00000002/manifest\.json cannot be read"):
                run.newest()
        else:
            assert whole(run.newest()) == expected and "step-00000001 is taken instead" in run.notes[0]


FILLING = f"""
import json, os, sys
from pathlib import Path
import msgspec
from topfive.errors import TopfiveError
from topfive.results.runs import Stated, open_run

{inspect.getsource(content)}

folder, said = Path(sys.argv[1]), []
if os.environ.get("AS_NOBODY") and os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    with open_run(folder, msgspec.json.decode(sys.argv[2], type=Stated)) as run:
        for step in map(int, sys.argv[3:]):
            run.save(step, content(step), {{"step": step}})
            said.append("saved")
except TopfiveError as error:
    said.append(f"{{error.exit_code}} {{error}}")
left = [path.name for path in folder.rglob("*.tmp")]
found = [path for path in sorted(folder.glob("checkpoints/*")) if path.name[-8:].isdigit()]
data = [[path.name, all((path / name).read_bytes() == bytes for name, bytes in content(int(path.name[-8:])).items())]
        for path in found]
print(json.dumps([said, left, data]))
"""


@pytest.mark.parametrize(
    ("options", "share", "saved"),
    [("", 0.3, 0), ("", 0.9, 0), ("", 1.0, 0), ("", 1.1, 1), ("", 1.9, 1), ("", 3.2, 5),
     ("nr_inodes=13", 9, 1), ("nr_inodes=4", 9, 0), ("ro", 9, 0)],
)  # fmt: skip
def test_a_full_disk_costs_the_save_that_did_not_fit(tmp_path: Path, options: str, share: float, saved: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    pages = sum(-(-len(data) // 4096) for data in content(1).values()) + 1  # the manifest's
    size = f"size={round(pages * share) * 4096}"
    mounting = f'mount -t tmpfs -o {",".join(filter(None, [size, options]))} tmpfs {disk} && exec "$@"'
    separate = ["unshare", "-Urm", "sh", "-c", mounting, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*separate, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: unshare -Urm, or mount, is not permitted")
    ended = subprocess.run([*separate, *child(FILLING, disk / "run", *range(1, 6))], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    said, left, data = json.loads(ended.stdout)
    assert said[:saved] == ["saved"] * saved and len(said) == (5 if saved == 5 else saved + 1)
    assert left == [] and data == [[f"step-{step:08}", True] for step in range(max(1, saved - 1), saved + 1)]
    if saved < 5:
        reason = "Read-only file system" if options == "ro" else "No space left on device"
        assert re.match(rf"5 {disk}/run\S* cannot be written: {reason}", said[-1]), said
        assert options or re.search(r"\(0\.1 MB needed, 0\.\d MB free\)$", said[-1])


@pytest.mark.parametrize("closed", ["parent", "parent/run", "parent/run/checkpoints"])
def test_a_folder_that_may_not_be_written_is_told_at_the_start(tmp_path: Path, closed: str) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "parent" / "run"
    if closed == "parent":
        folder.parent.mkdir()
    else:
        made(folder, 1)
        (folder / "lock").chmod(0o666)  # else the lock alone would tell
        folder.chmod(0o777)
    (tmp_path / closed).chmod(0o555)
    as_nobody = {**os.environ, "AS_NOBODY": "yes"}  # why: root may write everywhere
    ended = subprocess.run(child(FILLING, folder, 2), capture_output=True, text=True, env=as_nobody)
    (tmp_path / closed).chmod(0o755)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)[0] == [f"5 {folder} cannot be written: Permission denied"]


# --- the order of the calls -----------------------------------------------------------------------------------------


def test_nothing_is_seen_before_it_is_on_the_disk_nor_removed_before_another_is(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", 0, 1)
    with watched(lambda call, count: None) as calls:
        everything(folder)
    _in_order(calls, folder)


@pytest.mark.usefixtures("strace")
def test_nor_as_the_system_sees_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", 0, 1)
    calls = []
    for call, _, line in traced(child(SAVING, folder, 2), folder, tmp_path / "log"):
        about = line.partition("(")[2]
        if call in ("openat", "unlinkat"):  # (AT_FDCWD<here>, "path" or, below a descriptor, (5<folder>, "name"
            base, name = re.findall(r"<([^>]*)>", about)[0], re.findall(r'"([^"]*)"', about)[0]
            paths = [os.path.join(base, name)]
        else:
            paths = re.findall(r'"([^"]*)"', about) if "<" not in about else re.findall(r"<([^>]*)>", about)
        call = {"openat": "open", "unlinkat": "unlink"}.get(call, call)
        calls.append((call, paths[0], paths[-1] if call == "rename" else ""))
    _in_order(calls, folder)


def _in_order(calls: list[tuple[str, str, str]], folder: Path) -> None:
    """No rename before what it names is on the disk; no removal before the rename is."""
    unwritten: set[str] = set()  # files and folders whose content is not on the disk
    finished, removed = [], []
    for call, path, to in calls:
        if call in ("write", "mkdir") and path != str(folder / "lock"):  # who holds it need not outlive a power cut
            unwritten |= {path, str(Path(path).parent)}
        elif call == "fsync":
            unwritten.discard(path)
        elif call == "rename" and to.endswith(".tmp"):
            safe = finished and str(Path(path).parent) not in unwritten
            assert safe, f"{path} is removed before what replaces it is there to stay"
            removed.append(path)
        elif call == "rename":
            early = [one for one in unwritten if Path(one).is_relative_to(path)]
            assert not early, f"{path} has its name before {early} is written"
            unwritten.add(str(Path(path).parent))
            finished.append(to)
        elif call in ("unlink", "rmdir"):
            assert ".tmp" in path, f"{path} is removed under its name"
    assert finished == [str(folder / "checkpoints" / "step-00000002"), str(folder / "rows.jsonl")]
    assert removed == [str(folder / "checkpoints" / "step-00000000")]
    assert str(folder) not in unwritten and str(folder / "checkpoints") not in unwritten


# --- damage ---------------------------------------------------------------------------------------------------------


def _damages(checkpoint: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """250 things that happen to files, each told to a copy of the checkpoint."""
    chance = random.Random(0)
    files = sorted(path.name for path in checkpoint.iterdir())
    sizes = {name: (checkpoint / name).stat().st_size for name in files}

    def flipped(name: str, bit: int) -> Callable[[Path], object]:
        def flip(at: Path) -> None:
            data = bytearray((at / name).read_bytes())
            data[bit // 8] ^= 1 << bit % 8
            (at / name).write_bytes(data)

        return flip

    def swapped(one: str, other: str) -> Callable[[Path], object]:
        def swap(at: Path) -> None:
            first, second = (at / one).read_bytes(), (at / other).read_bytes()
            (at / one).write_bytes(second)
            (at / other).write_bytes(first)

        return swap

    def piped(at: Path) -> None:
        (at / "state.json").unlink()
        os.mkfifo(at / "state.json")

    for i in range(50):
        size = chance.randrange(sizes[name := files[i % 4]])
        yield f"{name} cut to {size}", lambda at, name=name, size=size: os.truncate(at / name, size)
    for i in range(190):
        bit = chance.randrange(8 * sizes[name := files[i % 4]])
        yield f"{name} with bit {bit} flipped", flipped(name, bit)
    for name in files:
        yield f"{name} empty", lambda at, name=name: os.truncate(at / name, 0)
        yield f"{name} missing", lambda at, name=name: os.unlink(at / name)
    yield "two swapped", swapped("weights.safetensors", "state.safetensors")
    yield "of the step before", lambda at: shutil.copytree(at.parent / "step-00000001", at, dirs_exist_ok=True)
    yield "the manifest of the step before", lambda at: shutil.copy(at.parent / "step-00000001" / "manifest.json", at)
    yield "a pipe", piped
    yield "longer", lambda at: os.truncate(at / "state.json", 10_000)
    yield "nothing in it", lambda at: [path.unlink() for path in at.iterdir()]


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_taken(tmp_path: Path) -> None:
    made(tmp_path, 1, 2)
    newest, kept = tmp_path / "checkpoints" / "step-00000002", tmp_path / "kept"
    shutil.copytree(newest, kept)
    tried = 0
    with open_run(tmp_path, STATED) as run:
        for what, damage in _damages(kept):
            damage(newest)
            if what != "of the step before":  # which is whole, and only has the wrong name
                with pytest.raises(RefusedError, match="step-00000002") as refused:
                    open_checkpoint(newest)
                assert refused.value.exit_code == 4, what
            run.notes.clear()
            assert whole(run.newest()) == 1, what
            assert len(run.notes) == 1 and re.search("step-00000002.*; step-00000001 is taken instead", run.notes[0])
            shutil.rmtree(newest)
            shutil.copytree(kept, newest)
            tried += 1
        assert tried == 254 and whole(run.newest()) == 2


def test_the_sum_that_differs_is_told(tmp_path: Path) -> None:
    made(tmp_path, 1)
    file = tmp_path / "checkpoints" / "step-00000001" / "state.json"
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(RefusedError, match=r"state\.json is damaged: its sha256 begins with \w{8}, not \w{8}$"):
        open_checkpoint(file.parent)
    with open_run(tmp_path, STATED) as run, pytest.raises(RefusedError, match="none of the 1 checkpoints"):
        run.newest()


def test_every_damaged_file_of_the_runs_in_a_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "a", 1, 2)
    made(tmp_path / "b", 3)
    assert main(["runs", str(tmp_path), "--verify"]) == 0
    for place in ("a/checkpoints/step-00000001", "b/checkpoints/step-00000003"):
        os.truncate(tmp_path / place / "state.json", 5)
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    assert main(["runs", str(tmp_path), "--verify"]) == 4
    said = capsys.readouterr().err
    for place in ("a/checkpoints/step-00000001", "b/checkpoints/step-00000003"):
        pattern = rf"{place}/state\.json is damaged: its sha256 begins with \w{{8}}, not \w{{8}}, 5 bytes, not"
        assert re.search(pattern, said), said
    told: list[str] = []
    assert whole(newest_in(tmp_path / "a", damaged=told)) == 2 and not told
    os.truncate(tmp_path / "a/checkpoints/step-00000002/state.json", 5)
    with pytest.raises(RefusedError, match="no whole checkpoint"):
        newest_in(tmp_path / "a", damaged=told)
    assert len(told) == 2


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    with open_run(tmp_path, STATED) as run:
        folder = run.save(1, content(1), {})
    manifest = folder / "manifest.json"
    head = manifest.read_bytes().rpartition(seals.SEAL)[0].replace(b"state.json", b"../../lock")
    manifest.write_bytes(head + seals._seal(head))
    with pytest.raises(RefusedError, match="outside of it"):
        open_checkpoint(folder)


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, 1) / "run.json"
    data = path.read_bytes()
    for at in random.Random(0).sample(range(len(data)), 100):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(RefusedError, match=r"run\.json is damaged"):
            open_run(tmp_path, STATED)
    path.write_bytes(data[:-100])
    with pytest.raises(RefusedError, match=r"run\.json is damaged"):
        load_run(tmp_path)
    path.write_bytes(data)
    (tmp_path / "rows.jsonl").write_bytes(b'{"epoch": 1}\n{"epo')
    with open_run(tmp_path, STATED) as run, pytest.raises(RefusedError, match=r"rows\.jsonl is damaged"):
        run.rows()


# --- the lock -------------------------------------------------------------------------------------------------------

HOLDING = """
import os, sys, time
from pathlib import Path
import msgspec
from topfive.results.runs import Stated, open_run

run = open_run(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Stated))
if "worker" not in sys.argv or os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(20)
"""

RACING = """
import sys
from pathlib import Path
import msgspec
from topfive.errors import UsageError
from topfive.results.runs import Stated, open_run

stated, run = msgspec.json.decode(sys.argv[2], type=Stated), None
for line in sys.stdin:
    if line.strip() == "end" and run:
        run.close()
    elif line.strip() != "end":
        try:
            run = open_run(Path(sys.argv[1], line.strip()), stated)
            print("won", flush=True)
        except UsageError as error:
            run = None
            print(f"{error.exit_code} {error}", flush=True)
"""


def test_a_folder_in_use_is_refused_and_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(child(HOLDING, tmp_path), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        in_use = rf"^{tmp_path} is in use by process {other.pid} on {os.uname().nodename}: "
        with pytest.raises(UsageError, match=in_use) as refused:
            open_run(tmp_path, STATED)
        assert refused.value.exit_code == 2 and load_run(tmp_path) == STATED
        other.kill()
        other.wait()
        with open_run(tmp_path, STATED), pytest.raises(UsageError, match=f"process {os.getpid()} on"):
            open_run(tmp_path, STATED)
    open_run(tmp_path, STATED).close()


def test_a_worker_that_outlives_its_process_does_not_hold_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen(child(HOLDING, tmp_path, "worker"), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        worker = int(other.stdout.readline())
        other.kill()
        other.wait()
        try:
            open_run(tmp_path, STATED).close()
        finally:
            os.kill(worker, signal.SIGKILL)  # it was there until here, else this fails


def test_of_two_starts_at_once_exactly_one_wins(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with (
        subprocess.Popen(child(RACING, tmp_path), **pipes) as one,
        subprocess.Popen(child(RACING, tmp_path), **pipes) as two,
    ):
        both = one, two
        for race in range(50):
            order = both if race % 2 else both[::-1]
            for process in order:
                process.stdin.write(f"{race // 2}\n")  # a new folder and an old one by turns
            answers = {process.stdout.readline().strip(): process.pid for process in both}
            assert len(answers) == 2 and "won" in answers, answers
            lost = next(answer for answer in answers if answer != "won")
            assert re.search(rf"^2 .* in use by (process {answers['won']} on|another process)", lost), lost
            for process in both:
                process.stdin.write("end\n")
            select.select([], [], [], 0.01)
        for process in both:
            process.stdin.close()


# --- another run ----------------------------------------------------------------------------------------------------


def _with(**changed: Any) -> Stated:
    """STATED with fields replaced; of a field that is a dictionary, its members."""
    for name, value in changed.items():
        if isinstance(value, dict):
            changed[name] = {**getattr(STATED, name), **value}
    return msgspec.structs.replace(STATED, **changed)


OTHER = {
    "network.body.layers[0].channels 64 -> 96": _with(
        network={"body": {"layers": [{"type": "Conv", "channels": 96}, {"type": "Relu"}]}}
    ),
    'number of network.body.layers 2 -> 1, network.body.layers[1] {"type":"Relu"} -> none': _with(
        network={"body": {"layers": [{"type": "Conv", "channels": 64}]}}
    ),
    "recipe.epochs 20 -> 10": _with(recipe={"epochs": 10}),
    "recipe.lr 0.05 -> 0.1, recipe.optimizer.momentum 0.9 -> 0.8": _with(
        recipe={"lr": 0.1, "optimizer": {"type": "Sgd", "momentum": 0.8}}
    ),
    "size 32 -> 64": _with(size=64),
    "world 1 -> 2": _with(world=2),
    "source.fingerprint abc -> abd": _with(source={"fingerprint": "abd"}),
    "source.upright true -> false": _with(source={"upright": False}),
    "source.classes[1] cow -> dog": _with(source={"classes": ["cat", "dog", "cow"]}),
    "number of source.classes 3 -> 4, source.classes[3] none -> eel": _with(
        source={"classes": ["cat", "cow", "dog", "eel"]}
    ),
    ", ".join(f"recipe.{name} none -> 1" for name in "abcde") + " and 2 more": _with(
        recipe=dict.fromkeys("abcdefg", 1)
    ),
}


@pytest.mark.parametrize("told", OTHER)
def test_a_run_of_other_settings_is_refused_and_they_are_named(tmp_path: Path, told: str) -> None:
    made(tmp_path, 1)
    with pytest.raises(UsageError) as refused:
        open_run(tmp_path, OTHER[told])
    wanted = f"{tmp_path} was started with other settings: {told}; name another folder, or use those"
    assert str(refused.value) == wanted and refused.value.exit_code == 2
    open_run(tmp_path, STATED).close()


def test_a_long_value_is_shown_where_it_differs(tmp_path: Path) -> None:
    made(tmp_path, 1)
    long = ["topfive", "train", "small", *(f"--set=field{i}=1" for i in range(9))]
    for stated in (_with(command=[*long, "--workers", "2"]), _with(command=[*long, "--workers", "3", "--quiet"])):
        with open_run(tmp_path / "run", stated) as run:
            said = " ".join(run.notes)
    assert "--workers 2 there" in said and "--workers 3 --quiet now" in said and "..." in said


def test_weights_to_begin_with_are_a_setting(tmp_path: Path) -> None:
    """Where they were recorded: a run of before is resumed."""
    other = _with(start=Begun("/elsewhere", "abcdef0123456789"))
    open_run(tmp_path / "old", STATED).close()
    open_run(tmp_path / "old", other).close()
    read = _with(reading=Reading(32))
    open_run(tmp_path / "new", read).close()
    with pytest.raises(UsageError, match="start none -> abcdef01; name another folder"):
        open_run(tmp_path / "new", msgspec.structs.replace(read, start=other.start))


def test_a_run_goes_on_elsewhere_and_says_what_is_not_the_same(tmp_path: Path) -> None:
    made(tmp_path, 1)
    other = _with(
        versions={"torch": "2.13"}, machine={"processor": "Xeon"}, source={"where": "/mnt/pets", "words": ["Cat"]},
        made="2026-12-01", command=["topfive", "train", "small", "--quiet"],
    )  # fmt: skip
    with open_run(tmp_path, other) as run:
        assert run.notes == [
            "torch 2.12 there, 2.13 now; processor EPYC there, Xeon now: not bit-identical",
            "images in /images/pets there, /mnt/pets now",
            "command topfive train small there, topfive train small --quiet now",
        ]
    assert load_run(tmp_path) == STATED


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.1.tmp").write_text("years of work")
    with pytest.raises(UsageError, match=r"foreign is no run and not empty \(it holds thesis\.1\.tmp\)"):
        open_run(foreign, STATED)
    assert [path.name for path in foreign.iterdir()] == ["thesis.1.tmp"]
    for place in (foreign / "thesis.1.tmp", foreign / "thesis.1.tmp" / "run"):
        with pytest.raises(UsageError, match="a file is in its place"):
            open_run(place, STATED)
    run = made(tmp_path / "run", 1)
    shutil.copy(foreign / "thesis.1.tmp", run)
    (run / "checkpoints" / "step-00000002.5.tmp").mkdir()
    (run / "rows.jsonl.5.tmp").touch()
    open_run(run, STATED).close()
    assert leftovers(run) == ["thesis.1.tmp"]
    (run / "run.json").unlink()
    with pytest.raises(UsageError, match=r"run is no run and not empty \(it holds checkpoints\)"):
        open_run(run, STATED)
