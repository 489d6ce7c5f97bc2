"""The host's look at when the device comes to what is timed."""

from __future__ import annotations

import ctypes
import types

import pytest

from triton_gym.evaluation.backends.cuda.device import Gate

BUSY, DONE = 600, 0


class Driver:
    """What the gate asks of the driver, with a stream that a test plays."""

    CU_MEMHOSTALLOC_DEVICEMAP = 2
    CUstreamWaitValue_flags = types.SimpleNamespace(CU_STREAM_WAIT_VALUE_GEQ=0)
    CUresult = types.SimpleNamespace(CUDA_ERROR_NOT_READY=BUSY)

    def __init__(self) -> None:
        self.memory = (ctypes.c_uint32 * 64)()
        self.state = BUSY

    def cuMemHostAlloc(self, nbytes, flags):
        assert nbytes <= ctypes.sizeof(self.memory)
        return 0, ctypes.addressof(self.memory)

    def cuMemHostGetDevicePointer(self, address, flags):
        return 0, address

    def cuStreamWaitValue32(self, stream, address, value, flags):
        return 0, None

    def cuStreamQuery(self, stream):
        return (self.state,)


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr("cuda.bindings.driver", driver, raising=False)
    monkeypatch.setattr("triton_gym.evaluation.backends.cuda.device.check", lambda found: found[1])
    return driver


class Clock:
    """One second passes with every look at it; something may happen at a time."""

    def __init__(self, at: int, happens) -> None:
        self.now, self._at, self._happens = 0, at, happens

    def perf_counter(self) -> int:
        self.now += 1
        if self.now == self._at:
            self._happens()
        return self.now


def begun(driver, monkeypatch, at, happens) -> float:
    """When what is timed began, as far as the host knows."""
    gate = Gate(0)
    gate._turn = 1
    clock = Clock(at, lambda: happens(gate))
    monkeypatch.setattr("triton_gym.evaluation.backends.cuda.device.time", clock)
    found = gate.passed()
    assert gate._word.value == 1  # it was opened
    return found


def test_the_turns_of_others_before_the_mark_are_not_in_the_time(driver, monkeypatch):
    def reached(gate):
        gate._mark.value = 1

    assert begun(driver, monkeypatch, 5000, reached) == 4999


def test_a_mark_that_what_is_timed_has_hidden_counts_from_the_opening(driver, monkeypatch):
    def ended(gate):
        driver.state = DONE

    assert begun(driver, monkeypatch, 5000, ended) == 1


def test_a_mark_set_too_soon_counts_from_the_opening(driver, monkeypatch):
    def reached(gate):
        gate._mark.value = 1  # by the call before

    assert begun(driver, monkeypatch, 1, reached) == 1


def test_an_error_while_it_is_closed_leaves_it_open(driver):
    gate = Gate(0)

    def fail():
        with gate.closed():
            assert gate._word.value == 0
            raise RuntimeError("a launch failed")

    with pytest.raises(RuntimeError, match="a launch failed"):
        fail()
    assert gate._word.value == 1
