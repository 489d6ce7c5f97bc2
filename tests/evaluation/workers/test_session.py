"""One worker from the judge's side."""

from __future__ import annotations

from pathlib import Path

import pytest

from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session
from triton_gym.evaluation.workers.worker_pool import WorkerPool


@pytest.fixture(scope="module")
def pool():
    opened = WorkerPool("compile")
    yield opened
    opened.close()


@pytest.mark.parametrize("yields", [False, True])
def test_who_only_compiles_lets_others_have_the_processors(pool, yields):
    with Scratch("") as scratch, Session(pool, Limits(), scratch, yields=yields) as worker:
        proc = Path("/proc", str(worker._pid))
        its, group = niceness(proc), proc / "autogroup"
        assert (its > niceness(Path("/proc/self"))) == yields
        if group.exists():  # where each session is scheduled as a group
            assert group.read_text().strip().endswith("nice 0") != yields


def niceness(proc):
    return int((proc / "stat").read_text().rsplit(")", 1)[1].split()[16])
