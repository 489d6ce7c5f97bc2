"""Workshops whose workers are confined."""

from __future__ import annotations

import os

import pytest

from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.workers.workshop import Workshop


@pytest.fixture(scope="module")
def workshop():
    shop = Workshop("compile")
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def open_workshop():
    """Its workers can reach the nursery, and leave their process group."""
    os.environ["HF_TOKEN"] = "a secret"
    shop = Workshop("interpret", ALL - {Layer.SIGNALS, Layer.PROCESSES})
    yield shop
    del os.environ["HF_TOKEN"]
    shop.close()
