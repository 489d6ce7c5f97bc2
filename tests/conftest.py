"""What the tests share: one evaluator on the simulated device, and the GPU marker."""

from __future__ import annotations

import os
import re
import zlib

import pytest

# Both numbers keep a run on two cores from starving itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


SHARE = 8
"""A `sampled` test runs for one in so many tasks of the catalogue, each test for others."""
ALWAYS = {"softmax", "matmul"}
"""Tasks that every `sampled` test runs for."""


LONGEST = (
    "integrations/test_trl.py", "evaluation/service/test_service.py", "agents/test_grpo.py",
    "test_envs.py", "evaluation/service/test_campaign.py", "test_examples.py",
    "evaluation/test_outcomes.py", "test_cli.py", "agents/test_data.py", "test_audit.py",
    "test_snippets.py", "agents/test_grpo_world.py", "test_composed.py", "benchmark/test_bench.py",
    "optimization/test_search.py", "optimization/test_tracing.py", "agents/test_policy.py",
    "integrations/test_conversation.py", "test_runs.py", "suites/test_agreement.py",
)  # fmt: skip
"""Files that take longest come first: with `--dist loadfile` one of them at the end would keep one
processor idle."""


def pytest_addoption(parser):
    parser.addoption(
        "--all-tasks",
        action="store_true",
        help="run `slow` tests, and `sampled` ones for every task",
    )
    parser.addoption(
        "--turn", type=int, default=0, help=f"which sample of the tasks: 0 to {SHARE - 1}"
    )


def pytest_collection_modifyitems(config, items):
    import torch

    place = {name: number for number, name in enumerate(LONGEST)}
    here = config.rootpath / "tests"
    items.sort(key=lambda item: place.get(_name(item.path, here), len(LONGEST)))  # it is stable
    if not config.getoption("--all-tasks"):
        left_out = [item for item in items if not chosen(item, config.getoption("--turn"))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


def _name(path, folder):
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""


def chosen(item, turn):
    """Whether a test is in this turn's sample: by a hash, so that all tasks have their turn."""
    if item.get_closest_marker("slow") is not None:
        return False
    if item.get_closest_marker("sampled") is None:
        return True
    task = re.sub(r"Triton(?:Kernel|Tune)-(\w+)-v\d+", r"\1", item.callspec.params["name"])
    return task in ALWAYS or zlib.crc32(f"{item.originalname} {task}".encode()) % SHARE == turn


@pytest.fixture(scope="session")
def evaluator():
    """This process's evaluator on the simulated device, which environments and commands share.

    One that is started for a file alone costs ten seconds of a processor.
    """
    from triton_gym.evaluation.service import pool

    return pool.evaluator_for("simulated")


@pytest.fixture
def opening(evaluator):
    """Stands for `Evaluator`: held to its parameters, it opens this process's, which stays open."""
    import contextlib
    import inspect

    from triton_gym import Evaluator

    def opened(device="auto", **options):
        inspect.signature(Evaluator).bind(device, **options)
        return contextlib.nullcontext(evaluator)

    return opened


@pytest.fixture
def opened(opening, monkeypatch):
    """Commands that open an evaluator of their own have this process's; see `opening`."""
    from triton_gym.evaluation.service import evaluator as module

    monkeypatch.setattr(module, "Evaluator", opening)


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


class Stub:
    """An evaluator without processes: run times from the numbers of the source, in no time."""

    def __init__(self):
        from triton_gym.evaluation.backends import resolve

        self.device, self.deterministic = resolve("simulated"), True
        self.sources = []

    def describe(self):
        return str(self.device)

    def submit(self, task, source, **options):
        import concurrent.futures

        future = concurrent.futures.Future()
        future.set_result(self.evaluate(task, source, **options))
        return future

    def evaluate(self, task, source, *, seed=None, **options):
        import ast
        import math

        from triton_gym.outcome import Outcome, Status, TimeSource

        self.sources.append(source)
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            return Outcome(status=Status.COMPILE_ERROR, message=str(error))
        numbers = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0
        ]
        if max(numbers, default=0) > 16384:
            return Outcome(status=Status.INCORRECT, message="too large")
        # The larger the numbers, the faster; the seed's share is small and reproducible.
        us = 1000 / (1 + sum(map(math.log2, numbers))) + (seed or 0) % 7 * 1e-3
        return Outcome(
            status=Status.CORRECT, message="ok", compiled=True, runtime_us=us, runtime_low_us=us,
            runtime_high_us=us, baseline_us=20.0, speedup=20.0 / us, roofline=0.5,
            registers=32.0, time_source=TimeSource.SIMULATED,
        )  # fmt: skip


@pytest.fixture
def stub():
    """See `Stub`."""
    return Stub()


@pytest.fixture
def stubbed(monkeypatch, stub):
    """Every environment that is made without an evaluator of its own gets the stub."""
    from triton_gym.evaluation.service import pool

    monkeypatch.setattr(pool, "evaluator_for", lambda device, **options: stub)
    return stub


@pytest.fixture
def registry():
    """Tasks that a page or an example registers are gone afterwards."""
    import gymnasium

    from triton_gym import registration

    tasks, ids = dict(registration._own), dict(gymnasium.registry)
    yield
    for kept, live in ((tasks, registration._own), (ids, gymnasium.registry)):
        live.clear()
        live.update(kept)
