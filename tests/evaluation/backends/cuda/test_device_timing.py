"""Queueing ahead of a device that sleeps: the host is never late unnoticed."""

import math
import types

import pytest
import torch

from triton_gym.evaluation.backends.cuda import device_timing


@pytest.fixture
def device(monkeypatch):
    """A device that sleeps as long as it is told, and whose host needs `needs_us` to queue."""
    there = types.SimpleNamespace(slept_us=[], needs_us=0.0, woken=0)

    class Event:
        def record(self):
            pass

        def query(self):
            return there.slept_us[-1] <= there.needs_us

    def wake():
        there.woken += 1

    stream = types.SimpleNamespace(synchronize=wake)
    for name, value in {
        "_sleep": lambda cycles: there.slept_us.append(cycles / device_timing.CYCLES_PER_US),
        "Event": Event, "current_stream": lambda: stream,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    return there


@pytest.mark.parametrize(("needs_us", "tries"), [(0.0, 1), (1_500.0, 2), (60_000.0, 4)])
def test_a_host_that_is_late_tries_again_behind_a_longer_sleep(device, needs_us, tries):
    device.needs_us = needs_us
    queued = []

    def queue(sleep):
        sleep()
        queued.append(len(queued))

    assert math.isfinite(device_timing.queue_ahead(queue))
    assert len(queued) == len(device.slept_us) == device.woken == tries
    assert device.slept_us == sorted(device.slept_us)
    assert device.slept_us[-1] > needs_us


def test_what_waits_for_the_device_is_never_ahead_of_it(device):
    device.needs_us = math.inf
    assert device_timing.queue_ahead(lambda sleep: sleep(), 50_000.0) == math.inf
    assert device.slept_us == [50_000.0, device_timing.LONGEST_US]


def test_a_sleep_is_as_long_as_expected_within_bounds(device):
    for about_us in (0.0, 5_000.0, math.inf):
        device.slept_us.clear()
        device_timing.queue_ahead(lambda sleep: sleep(), about_us)
        assert device.slept_us == [
            min(max(about_us, device_timing.SHORTEST_US), device_timing.LONGEST_US)
        ]
