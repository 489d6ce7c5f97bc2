"""The host's look at when the device comes to what is timed."""

from __future__ import annotations

import ctypes
import threading
import time
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


def later(call):
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_the_turns_of_others_before_the_mark_are_not_in_the_time(driver):
    gate = Gate(0)
    gate._turn = 1

    def others_first():
        time.sleep(0.05)
        gate._mark.value = 1

    begun = time.perf_counter()
    thread = later(others_first)
    found = gate.passed()
    thread.join()
    assert gate._word.value == 1  # it was opened
    assert begun < found <= time.perf_counter()
    assert found - begun > 0.04  # the wait of 50 ms is left out


def test_a_mark_that_what_is_timed_has_hidden_counts_from_the_opening(driver):
    gate = Gate(0)
    gate._turn = 1

    def work_that_hides_it():
        time.sleep(0.05)
        driver.state = DONE

    begun = time.perf_counter()
    thread = later(work_that_hides_it)
    found = gate.passed()
    thread.join()
    assert found - begun < 0.04


def test_a_mark_set_too_soon_counts_from_the_opening(driver):
    gate = Gate(0)
    gate._turn = 1
    gate._mark.value = 1  # by the call before
    begun = time.perf_counter()
    assert gate.passed() - begun < 0.04


def test_an_error_while_it_is_closed_leaves_it_open(driver):
    gate = Gate(0)

    def fail():
        with gate.closed():
            assert gate._word.value == 0
            raise RuntimeError("a launch failed")

    with pytest.raises(RuntimeError, match="a launch failed"):
        fail()
    assert gate._word.value == 1
