"""Worker pools whose workers are confined."""

from __future__ import annotations

import os

import pytest

from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.workers.worker_pool import WorkerPool


@pytest.fixture(scope="module")
def pool():
    opened = WorkerPool("record")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def open_pool():
    """Its workers can reach the fork server, and leave their process group."""
    os.environ["HF_TOKEN"] = "a secret"
    opened = WorkerPool("record", ALL - {Layer.SIGNALS, Layer.PROCESSES})
    yield opened
    del os.environ["HF_TOKEN"]
    opened.close()
