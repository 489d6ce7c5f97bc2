from __future__ import annotations

import gc
import sys
import threading

import pytest

from triton_gym import syntax

SOURCE = "\n".join(
    f"def f{i}(a, b):\n    return [a + b * ({i} - a) for _ in range(3) if a]" for i in range(200)
)


class Litter:
    """Collected as garbage in the middle of what another thread does."""

    def __init__(self):
        self.me = self

    def __del__(self):
        pass


@pytest.fixture
def restless():
    """Threads that change as often as they can."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_threads_may_parse_at_the_same_time(restless):
    failures = []

    def work():
        for _ in range(30):
            Litter()
            try:
                syntax.check(syntax.parse(SOURCE))
                syntax.parse_expression("(a + b) * c")
            except SystemError as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
