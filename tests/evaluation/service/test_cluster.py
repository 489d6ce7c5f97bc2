"""Over a Ray cluster nothing is lost and nothing doubled, whichever node dies or joins."""

from __future__ import annotations

import concurrent.futures
import pickle
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

import triton_gym
from triton_gym import EvaluatorError, InvalidOptionError
from triton_gym.evaluation.service import folder
from triton_gym.evaluation.workers.scratch import PREFIX

TASK = triton_gym.load("sum_rows")


def test_without_ray_the_error_names_the_extra(monkeypatch):
    import gymnasium as gym

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidOptionError, match=r"triton-gym\[ray\]"):
        gym.make("TritonKernel-sum_rows-v0", device="simulated", evaluator="ray")


def test_an_evaluator_of_another_kind_is_refused():
    import gymnasium as gym

    with pytest.raises(InvalidOptionError, match="Did you mean 'ray'"):
        gym.make("TritonKernel-sum_rows-v0", device="simulated", evaluator="rays")


@pytest.fixture
def cluster():
    """A head without processors and two nodes with one each, all on this machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of its open files
        small = {"object_store_memory": 80 << 20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        made.kernel_nodes = [made.add_node(num_cpus=1, **small) for _ in range(2)]
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


def folders():
    """Of judges, on this machine."""
    return Path(tempfile.gettempdir()).glob(f"{PREFIX}*")


@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore")
def test_a_node_dies_in_the_middle_and_everything_is_answered_once(cluster, tmp_path):
    from triton_gym.evaluation.service.cluster import RayEvaluator

    before = set(folders())
    with pytest.raises(EvaluatorError, match="has room for a judge, which needs 5 num_cpus"):
        RayEvaluator(cluster.address, device="simulated", workers=5)
    with RayEvaluator(cluster.address, workers=1, store=tmp_path / "outcomes.db") as evaluator:
        assert evaluator.deterministic
        told = []
        futures = [evaluator.submit(TASK, TASK.starter + f"# {i}\n") for i in range(12)]
        bad = evaluator.submit(TASK, "import os", priority=9)
        given_up = evaluator.submit(TASK, TASK.expert, priority=-9)
        for future in futures:
            future.add_done_callback(lambda f: told.append(f.id))
        assert given_up.cancel()
        assert bad.result(120).status == "rejected"
        first = next(concurrent.futures.as_completed(futures, 120))
        assert first.result().time_source == "simulated"
        assert len(evaluator.progress().judges) == 2
        cluster.remove_node(cluster.kernel_nodes[0], allow_graceful=False)
        assert [f.result(200).status for f in futures] == ["correct"] * 12
        assert sorted(told) == [f.id for f in futures]
        progress = evaluator.progress()
        assert (progress.done, progress.cancelled, progress.failed) == (13, 1, 0)
        assert evaluator.evaluate(TASK, TASK.starter + "# 3\n").time_source == "recorded"
        again = pickle.dumps(evaluator)
    deadline = time.monotonic() + 20
    while (left := set(folders()) - before) and time.monotonic() < deadline:
        time.sleep(0.5)  # what was killed with its node is still ending
        folder.sweep()
    assert not left, "judges leave no folders, whatever becomes of their nodes"
    assert b"RayEvaluator" in again or b"_again" in again
