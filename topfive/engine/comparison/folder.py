"""The folder of a comparison: what was decided, measured and trained, each as a record that is there as a whole."""

import csv
from pathlib import Path
from typing import TypeVar

import msgspec

from topfive.data.files import write_whole
from topfive.data.outputs import mark
from topfive.engine.benchmark.arithmetic import repeated
from topfive.engine.benchmark.machine import Machine
from topfive.engine.comparison.planning import Plan
from topfive.engine.training.unreadable import BAD_FILES
from topfive.errors import DataError, ResourceError, UsageError
from topfive.results.locks import Lock
from topfive.results.records import Benchmark, TrialRecord

SETTING = "setting.json"
MACHINE = "machine.json"
DECODING = "decoding.json"
BENCHMARKS = "benchmarks.jsonl"
TRIALS = "trials.jsonl"

Record = TypeVar("Record", bound=msgspec.Struct)
Value = TypeVar("Value")


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all trials in a folder share; others never stand in one table with them."""

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    machine: str
    workers: int | None = None  # processes that read images anew each epoch; None is as fits the memory


class Timed(msgspec.Struct, frozen=True):
    """A benchmark and the key of its candidate."""

    key: str
    benchmark: Benchmark


def machine_of(folder: Path, machine: Machine) -> Machine:
    """`machine` with the threads and the arithmetic of the comparison that `folder` holds, if it holds one."""
    try:
        before = msgspec.json.decode((folder / MACHINE).read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError):
        return machine
    return repeated(machine, before)


def read_plan(path: Path) -> Plan:
    """The plan in a file; one without a trial where there is none. Raises: DataError for a damaged one."""
    return _read(path, Plan, Plan())


def _read(path: Path, kind: type[Value], missing: Value) -> Value:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else missing
    except msgspec.MsgspecError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged ({error}): remove it, and it is made anew, or give another --out")


class Folder:
    """Locked until `close`. Raises: UsageError where another process works there, or where it holds another comparison;
    ResourceError where it cannot be written to."""

    def __init__(self, path: Path, setting: Setting, machine: Machine) -> None:
        self.path = path
        self.notes: list[str] = []
        try:
            mark(path)
            self._lock = Lock(path / "lock")
            try:
                self.notes += self._lock.take()
                self._check(setting)
                write_whole(path / MACHINE, msgspec.json.format(msgspec.json.encode(machine)))
                write_whole(path / SETTING, msgspec.json.format(msgspec.json.encode(setting)))
            except BaseException:
                self.close()
                raise
        except (OSError, ResourceError, msgspec.MsgspecError) as error:
            raise ResourceError(f"{path} cannot be used for results: {error}: give another --out") from None

    def close(self) -> None:
        """Let others work in the folder."""
        self._lock.release()

    def trials(self) -> dict[str, TrialRecord]:
        """The finished trials by their keys."""
        return {record.key: record for record in self._lines(TRIALS, TrialRecord)}

    def add_trial(self, record: TrialRecord) -> None:
        """Keep a trial."""
        self._write(TRIALS, [*self._lines(TRIALS, TrialRecord), record])

    def benchmarks(self) -> dict[str, Benchmark]:
        """What was timed, by the keys of the candidates."""
        return {timed.key: timed.benchmark for timed in self._lines(BENCHMARKS, Timed)}

    def add_benchmark(self, key: str, benchmark: Benchmark) -> None:
        """Keep a benchmark."""
        self._write(BENCHMARKS, [*self._lines(BENCHMARKS, Timed), Timed(key, benchmark)])

    def plan(self, name: str) -> Plan:
        """The plan called so; one without a trial where there is none yet."""
        return read_plan(self.path / name)

    def keep_plan(self, name: str, plan: Plan) -> None:
        """Write a plan down."""
        write_whole(self.path / name, msgspec.json.format(msgspec.json.encode(plan)))

    def unreadable(self) -> list[dict[str, str]]:
        """The images that were skipped, with why; from the folder, so that a later run knows them too."""
        path = self.path / BAD_FILES
        if not path.exists():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return [{"path": line["path"], "why": line["reason"]} for line in csv.DictReader(file)]
        except (UnicodeDecodeError, KeyError, csv.Error) as error:
            raise _damaged(path, error) from None

    def decoded(self) -> dict[str, int]:
        """What decoding did knowingly, and to how many images."""
        return _read(self.path / DECODING, dict[str, int], {})

    def keep_decoded(self, done: dict[str, int]) -> None:
        """Write that down."""
        write_whole(self.path / DECODING, msgspec.json.encode(done))

    def _check(self, setting: Setting) -> None:
        stated = self.path / SETTING
        if not stated.exists() or not (self.path / TRIALS).exists():  # why: there is nothing that could be mixed up
            if (self.path / "rows.jsonl").exists():
                raise UsageError(f"{self.path} holds a comparison of an earlier topfive: give another --out")
            return
        before = msgspec.json.decode(stated.read_bytes(), type=Setting)
        changed = [
            f"{field} {getattr(before, field)!r} there, {getattr(setting, field)!r} now"
            for field in Setting.__struct_fields__
            if getattr(before, field) != getattr(setting, field)
        ]
        if changed:
            what = "; ".join(changed)
            stay = "; images that cannot be read may stay there (--max-bad)" if self.unreadable() else ""
            raise UsageError(f"{self.path} holds another comparison ({what}): give another --out{stay}")

    def _lines(self, name: str, kind: type[Record]) -> list[Record]:
        path = self.path / name
        records = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                records.append(msgspec.json.decode(line, type=kind))
            except msgspec.MsgspecError:
                continue  # why: what cannot be read is made again
        return records

    def _write(self, name: str, records: list[Record]) -> None:
        write_whole(self.path / name, msgspec.json.Encoder().encode_lines(records))
