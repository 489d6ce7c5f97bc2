"""What the tests share: one evaluator on the simulated device, and the GPU marker."""

from __future__ import annotations

import os

import pytest

# Both numbers keep a run on two cores from starving itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_collection_modifyitems(config, items):
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def evaluator():
    """A shared evaluator on the simulated device."""
    from triton_gym import Evaluator

    with Evaluator("simulated", workers=2) as shared:
        yield shared


@pytest.fixture(scope="session")
def gpu_evaluator():
    """A shared evaluator on the first GPU."""
    from triton_gym import Evaluator

    with Evaluator("cuda:0") as shared:
        yield shared


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def any_evaluator(request):
    """Evaluators of both devices, one after the other."""
    name = "evaluator" if request.param == "simulated" else "gpu_evaluator"
    return request.getfixturevalue(name)
