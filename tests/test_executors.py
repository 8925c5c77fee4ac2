"""Trainings on a Ray cluster: two nodes on this machine, one of which is killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import clear_frames
from types import SimpleNamespace

import pytest
from test_comparison import tiny, trials

from topfive.cli import main
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.comparison.executors import Work, _Shared, _train, run_here
from topfive.engine.comparison.trials import Place
from topfive.errors import ResourceError
from topfive.results.runs import newest_in

__all__ = ["tiny"]  # a fixture

AT = 15  # the step at which the node dies


def dying(raylet: int) -> Callable[[], None]:
    """What workers begin with: each notes at which step its training begins; on the node of the process `raylet` it
    saves its state at every step and, at one of them, is killed with the node."""

    def begin() -> None:
        import os
        import signal

        from topfive.engine.training.checkpoints import Checkpointer

        restore, step = Checkpointer.restore, Checkpointer.step

        def restored(self, training):
            restore(self, training)
            with open("begun.txt", "a") as file:
                file.write(f"{self.resumed}\n")

        def stepped(self, training, *others):
            self.every = 0.0 if os.getppid() == raylet else self.every
            step(self, training, *others)
            if os.getppid() == raylet and training.state.step == AT:
                os.kill(raylet, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)

        Checkpointer.restore, Checkpointer.step = restored, stepped

    return begin


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes, each for one training at a time; the second one dies in the middle of its first."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'topfive[ray]'")
    from ray.cluster_utils import Cluster

    threads = this_machine().threads
    with pytest.MonkeyPatch.context() as patch:
        # why: on a busy machine Ray's processes take longer to start than it waits for them
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": threads, "include_dashboard": False})
        second = cluster.add_node(num_cpus=threads)
        hook = {"worker_process_setup_hook": dying(second.all_processes["raylet"][0].process.pid)}
        ray.init(cluster.address, runtime_env=hook, log_to_driver=False)
        yield
        ray.shutdown()
        cluster.shutdown()


def learnt(out: str) -> dict[int, tuple[object, ...]]:
    """What each seed came to: its scores, its curve, and the weights of its network."""
    return {
        row["seed"]: (row["scores"], row["curve"], newest_in(Path(out, row["trial"])).read("model.safetensors"))
        for row in trials(out)
    }


def test_a_node_that_does_not_see_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResourceError, match=r"the node .* does not see .*absent: --out must be a folder of all nodes"):
        _train(_Shared(None, Place(tmp_path / "absent"), tmp_path), None, None)


def test_without_ray_the_extra_is_named(
    tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topfive.engine.comparison.executors.find_spec", lambda name: None)
    assert main([*tiny, "--executor", "ray"]) == 2
    assert "pip install 'topfive[ray]'" in capsys.readouterr().err


def test_a_training_that_fails_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error's frames are cleared, for the memory that they hold; the loop over the trainings is none of them."""

    def fails_first(entry: str, *others: object) -> tuple[str, list[str]]:
        if entry == "first":
            raise ValueError("not on a Friday")
        return "record", []

    monkeypatch.setattr("topfive.engine.comparison.executors.run_trial", fails_first)
    images = SimpleNamespace(read=lambda *_: None, note=lambda _: None, source=None)
    works = [Work(name, None, None, 1.0, None) for name in ("first", "second")]
    made = []
    for _, result, _ in run_here(iter(works), images, None, None, None):
        made.append(str(result))
        if isinstance(result, Exception):
            clear_frames(result.__traceback__)
    assert made == ["not on a Friday", "record"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.usefixtures("cluster")
def test_all_rows_arrive_where_a_node_is_killed_and_are_those_of_one_process(
    tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny[tiny.index("--seeds") + 1] = "3"
    assert main([*tiny, "--out", "alone"]) == 0
    capsys.readouterr()
    assert main([*tiny, "--out", "out", "--executor", "ray"]) == 0
    said = capsys.readouterr().err
    assert all(f"tiny, seed {seed}: " in said for seed in range(3)) and "topfive predict out/trials/tiny-" in said
    assert sorted(Path("begun.txt").read_text().split(), key=int) == ["0", "0", "0", str(AT)]
    assert learnt("out") == learnt("alone") and len(learnt("out")) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.usefixtures("cluster")
def test_ctrl_c_saves_what_is_trained(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def press() -> None:
        deadline = time.monotonic() + 600
        while not Path("begun.txt").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    tiny[tiny.index("--epochs") + 1] = "5000"
    assert main([*tiny, "--out", "out", "--executor", "ray"]) == 130
    assert "stopped; 0 trainings are kept in out; continue with: topfive compare" in capsys.readouterr().err
    assert newest_in(Path("out/trials/tiny-seed0")).step > 0
