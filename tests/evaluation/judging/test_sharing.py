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


class Late:
    """The channel to a worker that answers after so many seconds."""

    def __init__(self, seconds=float("inf")):
        self.at = time.monotonic() + seconds

    def receive(self, seconds):
        left = max(0.0, self.at - time.monotonic())
        time.sleep(min(seconds, left))
        if left > seconds:
            raise ChannelTimeout
        return {"ok": True}


def session(channel, seconds):
    made = Session.__new__(Session)
    made._limits = Limits(seconds=seconds)
    made._left, made._channel = seconds, channel
    return made


def test_an_answer_does_not_pay_for_others_that_have_the_gpu(tmp_path):
    lock = GpuLock(tmp_path / "gpu.lock")
    held = threading.Event()

    def hold():
        with lock(alone=True):
            held.set()
            time.sleep(0.6)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    worker = session(Late(0.2), seconds=0.3)
    with lock(alone=False):  # as what the judge does itself, while the worker is at work
        pass
    assert worker.wait() == {"ok": True}
    other.join(10)
    worker._channel = Late()
    start = time.monotonic()
    with pytest.raises(Ended, match=r"did not finish within 0\.3 s"):
        worker.wait()
    assert time.monotonic() - start < 0.6


def test_what_an_answer_took_is_taken_from_its_time():
    worker = session(Late(0.2), seconds=0.3)
    assert worker.wait_for(0.1) is None
    assert worker.wait_for(0.15) is not None
    worker._channel = Late(0.2)
    with pytest.raises(Ended, match=r"did not finish within 0\.3 s"):
        worker.wait()


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
