from __future__ import annotations

import threading
import time

import pytest

from triton_gym.evaluation.exchange.channel import ChannelTimeout
from triton_gym.evaluation.judging.sharing import GpuLock
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.session import Ended, Session


def test_a_gpu_is_shared_or_held_alone_and_who_waits_to_be_alone_comes_first(tmp_path):
    lock = GpuLock(tmp_path / "gpu.lock")
    order: list[str] = []
    shared = threading.Barrier(3)

    def share(name):
        with lock(alone=False):
            shared.wait(10)  # passes only if all three hold it at once
            time.sleep(0.2)
            order.append(name)

    def alone():
        with lock(alone=True):
            order.append("alone")

    def late():
        with lock(alone=False):
            order.append("late")

    threads = [threading.Thread(target=share, args=(f"shared {i}",)) for i in range(2)]
    for thread in threads:
        thread.start()
    with lock(alone=False):
        shared.wait(10)
        threads.append(threading.Thread(target=alone))
        threads[-1].start()
        time.sleep(0.05)
        threads.append(threading.Thread(target=late))
        threads[-1].start()
        time.sleep(0.3)
        assert "late" not in order, "else those who share could keep others from ever being alone"
    for thread in threads:
        thread.join(10)
    assert order[-2:] == ["alone", "late"]


def test_waiting_for_others_is_not_the_workers_time(tmp_path):
    lock = GpuLock(tmp_path / "gpu.lock")
    session = Session.__new__(Session)
    session._deadline = before = time.monotonic() + 5.0

    def hold():
        with lock(alone=True):
            held.set()
            time.sleep(0.4)

    held = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    with session.unhurried(lock(alone=False)):
        waited = session._deadline - before
        time.sleep(0.2)
    assert waited >= 0.3
    assert session._deadline - before == waited, "what it does with the GPU is its own time"
    other.join(10)


class Silent:
    """The channel to a worker that never answers."""

    def receive(self, seconds):
        time.sleep(max(0.0, seconds))
        raise ChannelTimeout


@pytest.mark.parametrize(("whole", "ends"), [(60.0, "0.2 s on the GPU"), (0.1, "0.1 s")])
def test_an_answer_has_the_gpu_for_so_long_and_then_what_was_left(tmp_path, whole, ends):
    lock, session = GpuLock(tmp_path / "gpu.lock"), Session.__new__(Session)
    session._limits = Limits(seconds=whole, gpu_seconds=0.2)
    session._deadline, session._allowed = time.monotonic() + whole, f"{whole:g} s"
    session._channel = Silent()
    before = session._deadline
    with (
        pytest.raises(Ended, match=f"did not finish within {ends}\\."),
        session.on_gpu(lock(alone=False)),
    ):
        session.wait()
    assert session._deadline == pytest.approx(before, abs=0.05)
    session._deadline = time.monotonic()
    with pytest.raises(Ended, match=f"within {whole:g} s\\."):
        session.wait()
    with lock(alone=True):
        pass


def test_waiting_for_one_right_does_not_keep_others_from_another(tmp_path):
    gpu, large = GpuLock(tmp_path / "gpu.lock"), GpuLock(tmp_path / "gpu.large")
    done = threading.Event()

    def wait_for_large():
        with large(alone=True):
            pass

    def use_gpu():
        with gpu(alone=True):
            done.set()

    with large(alone=True):
        waiting = threading.Thread(target=wait_for_large)
        waiting.start()
        time.sleep(0.1)
        user = threading.Thread(target=use_gpu, daemon=True)
        user.start()
        assert done.wait(5.0)
    waiting.join(10)
    user.join(10)
