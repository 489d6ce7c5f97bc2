"""Whatever a worker uses up, floods or holds on to: it ends, soon, and the next one works."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from probing import probe

from triton_gym.evaluation.workers.sandbox import Limits

FLOODS = {
    "open files": ("held = []\nwhile True:\n    held.append(os.open('/dev/null', 0))", "open files"),
    "memory": ("block = b'x' * (1 << 29)\ntime.sleep(60)", "MiB|memory|Memory"),
    "one large file": (
        "with open('large', 'wb') as file:\n    while True:\n        file.write(bytes(1 << 20))",
        "too large a file|File too large",
    ),
    "output": (
        "for name in (1, 2):\n    for _ in range(64):\n        os.write(name, b'x' * (1 << 20))\n"
        "raise ValueError('it went nowhere')",
        "it went nowhere",
    ),
    "the judge's channel": (
        "for name in os.listdir('/proc/self/fd'):\n"
        "    if os.path.realpath(f'/proc/self/fd/{name}').rpartition('/')[2].startswith('socket'):\n"
        "        os.set_blocking(int(name), True)\n"
        "        while True:\n            os.write(int(name), b'x' * (1 << 20))\n",
        "forged",
    ),
    "messages that never end": (
        "for name in os.listdir('/proc/self/fd'):\n"
        "    if os.path.realpath(f'/proc/self/fd/{name}').rpartition('/')[2].startswith('socket'):\n"
        "        os.write(int(name), (1 << 20).to_bytes(4, 'big'))\n"
        "        while True:\n            os.write(int(name), b'[')\n            time.sleep(0.01)\n",
        "did not finish within 2 s",
    ),
    "a message of its own": ("raise ValueError('x' * (32 << 20))", "ValueError.*x{100}"),
    "silence": ("time.sleep(600)", "did not finish within 2 s"),
    "silence in the kernel": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nsignal.sigwait([signal.SIGUSR1])",
        "did not finish within 2 s",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FLOODS)
def test_a_worker_that_uses_all_of_something_ends_alone(what, pool):
    code, expected = FLOODS[what]
    limits = Limits(seconds=2, host_bytes=256 << 20, file_bytes=8 << 20)
    if what not in ("silence", "silence in the kernel", "messages that never end"):
        limits = Limits(seconds=30, host_bytes=256 << 20, file_bytes=8 << 20)
    started = time.monotonic()
    _, told = probe(pool, code, limits)
    assert re.search(expected, told), told[:300]
    assert len(told) < 10_000
    assert time.monotonic() - started < 25


def test_and_the_next_one_works(pool):
    assert probe(pool, "found = 1")[0] == 1
