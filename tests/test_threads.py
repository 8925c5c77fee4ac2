"""How many threads are taken beside other programs, and that how they wait changes no number."""

from types import SimpleNamespace

import pytest
import torch

from topfive.engine.benchmark import load, threads
from topfive.engine.benchmark.load import Load
from topfive.engine.benchmark.threads import Crowd, free, free_threads
from topfive.networks import get


@pytest.mark.parametrize(
    ("wanted", "usable", "others", "left"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.4, 2),
        (2, 2, 1.0, 1),  # one program keeps one of two cores
        (2, 2, 2.0, 1),  # there is always one
        (1, 2, 2.0, 1),
        (16, 16, 0.0, 15),  # of many cores one stays free
        (16, 16, 3.1, 13),
        (8, 16, 3.0, 8),  # threads on 8 of 16 logical cores, and 3 others, do not meet
    ],
)
def test_threads_are_as_many_as_cores_are_free(wanted: int, usable: int, others: float, left: int) -> None:
    assert free(wanted, usable, others) == left


def test_what_others_take_is_all_that_is_busy_but_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(user: float, idle: float, iowait: float = 0.0, guest: float = 0.0) -> SimpleNamespace:
        class Times(SimpleNamespace):
            def __iter__(self):  # type: ignore[no-untyped-def]
                return iter(vars(self).values())

        return Times(user=user, idle=idle, iowait=iowait, guest=guest)

    seen = [[times(100.0, 50.0), times(200.0, 70.0, 5.0, 30.0)], [times(110.0, 50.0), times(206.0, 74.0, 9.0, 32.0)]]
    own, clock = iter([10.0, 13.0]), iter([1.0, 11.0])
    monkeypatch.setattr(load, "_at_hand", lambda: frozenset({0, 1}))
    monkeypatch.setattr(load.psutil, "cpu_times", lambda percpu: seen.pop(0))
    monkeypatch.setattr(load, "_own", lambda: next(own))
    monkeypatch.setattr(load.time, "perf_counter", lambda: next(clock))
    # over 10 s the first core was busy for 10 s and the second for 6 (a guest's time is also the user's); 3 s were ours
    assert Load().others() == pytest.approx(1.3)


def test_the_number_that_the_user_sets_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(threads, "_chosen", lambda: pytest.fail("the load decided"))
    assert free_threads() == torch.get_num_threads()


@pytest.mark.parametrize("stated", ["1", None])
def test_processes_of_torchrun_share_the_cores_before_they_have_met(
    stated: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `train` records of its machine is what it computes with: torchrun's own number is one thread."""
    from topfive.engine.benchmark.machine import this_machine

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if stated:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert this_machine("cpu").threads == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_that_give_up_their_cores_compute_the_same() -> None:
    from topfive.engine.models.modules import build

    torch.manual_seed(0)
    net, x = build(get("cifar-resnet-20")), torch.randn(8, 3, 32, 32)
    before, crowd = torch.get_num_threads(), Crowd()
    torch.set_num_threads(2)
    try:
        found = []
        for change in (lambda: None, lambda: crowd.gather(2), crowd.leave):
            change()
            net.zero_grad()
            net(x).sum().backward()
            found.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))
