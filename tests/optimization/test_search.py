"""A search from its folder to a kernel that answers: all but the GPU, with a judge in its place.

Pairs are taken by the real trial process; "kernels" are plain PyTorch, faster or not by sleeping.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import Future

import pytest
import torch

from triton_gym.optimization.binding import Binding
from triton_gym.optimization.cache import Cache
from triton_gym.optimization.candidates import Candidates
from triton_gym.optimization.handle import Optimization
from triton_gym.optimization.search import SearchRun
from triton_gym.optimization.spec import Spec
from triton_gym.optimization.traced import TracedFunction
from triton_gym.optimization.watcher import WATCHER
from triton_gym.outcome import Outcome, Status
from triton_gym.task import Case, Span, Task
from triton_gym.task import Entry as TaskEntry

FASTER = """
import torch

def scaled(x, w):
    return torch.mul(x, w) * 2.0
"""
SLOWER = """
import time
import torch

def scaled(x, w):
    return torch.mul(x, w) * 2.0
"""


def slow(x, w, factor=2.0):
    import time

    time.sleep(0.002)
    return x * w * factor


def inputs(case, generator):
    return (
        torch.randn(case["n"], 8, generator=generator), torch.randn(8, generator=generator)
    )  # fmt: skip


def reference(x, w):
    return x * w * 2.0


@pytest.fixture
def traced(binding_of):
    case = Case("float32", {"n": 4})
    task = Task(
        name="scaled", title="Scaled", statement="Twice the product.",
        entry=TaskEntry("scaled", ("x", "w")), reference=reference, inputs=inputs, tiny=(case,),
        bench=(case,), spans={"n": Span(2, 64, 16)}, flops=lambda case: 2.0 * case["n"] * 8,
        min_bytes=lambda case: 8.0 * case["n"] * 8, reduction=lambda case: 1, starter="", expert="",
    )  # fmt: skip
    binding = binding_of(slow)
    return TracedFunction(
        task=task, guard=binding.guard, starts=(), captured=(), settings=(),
        results=binding.results, tree=binding.tree, digest="1" * 64,
    )  # fmt: skip


class Judge:
    """Finds every answer correct, and each a tenth faster than the one before."""

    deterministic = True

    def __init__(self, device, workers):
        self.device, self.workers, self.seen = device, workers, []

    def describe(self):
        return "cpu"

    def evaluate(self, task, source, **options):
        self.seen.append(source)
        speedup = 1.1 ** len(self.seen)
        return Outcome(status=Status.CORRECT, speedup=speedup, runtime_us=100 / speedup)

    def submit(self, task, source, **options):
        done = Future()
        done.set_result(self.evaluate(task, source, **options))
        return done

    def close(self):
        pass


@pytest.fixture
def search(tmp_path, traced, monkeypatch):
    """Runs a search in this process and tells what it said."""

    def traced_now(run):
        run.folder.write_trial({"traced": traced})
        return traced

    found = Candidates.found

    def tried_now(candidates, *given):
        better = found(candidates, *given)
        candidates.settle()  # one after the other, in the order in which they are found
        return better

    monkeypatch.setattr(SearchRun, "_traced", traced_now)
    monkeypatch.setattr(Candidates, "found", tried_now)

    def run(*sources, heard=lambda event: None, **changes):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        example = (torch.randn(4, 8), torch.randn(8))
        given = {"seconds": 60.0, "key": "a" * 64, "cache": str(tmp_path / "cache")} | changes
        spec = Spec(
            name="scaled", function=slow, examples=[example], device="simulated", sources=sources,
            **given,
        )  # fmt: skip
        spec.write(folder)
        said = []

        def say(event, **values):
            said.append({"event": event, **json.loads(json.dumps(values))})
            heard(said[-1])

        made = SearchRun(folder, spec, say, judge=Judge, live=True)
        monkeypatch.setattr(made, "_agents", lambda *given: None)
        made.run()
        return said

    return run


def named(said, kind):
    return [event for event in said if event["event"] == kind]


def test_a_faster_kernel_is_handed_over_and_kept(search, tmp_path, traced):
    wrong = FASTER.replace("2.0", "2.1")
    faults = FASTER.replace("return", "import os; os.abort(); return")
    said = search(wrong, faults, SLOWER, FASTER)
    told = [(one["ok"], one["faster"]) for one in named(said, "candidate")]
    assert told == [(False, False), (False, False), (False, False), (True, True)]
    why = [one["why"] for one in named(said, "candidate")]
    assert "Wrong result" in why[0]
    assert "imports os" in why[1]
    assert "imports time" in why[2]
    last = named(said, "candidate")[-1]
    assert last["evalue"] >= last["needed"]
    assert last["device"][1] > 1
    assert named(said, "finished")[0]["tried"] == {"correct": 4}
    entry = Cache(tmp_path / "cache").get("a" * 64)
    assert entry.finished
    assert entry.verified.source == FASTER
    assert entry.verified.binding == Binding.of(traced)
    # Begun again, it remembers what it tried and what it had handed over.
    said = search(wrong, faults, SLOWER, FASTER)
    assert [one["number"] for one in named(said, "swap")] == [4]
    assert not named(said, "candidate")
    assert (tmp_path / "run" / "best.py").read_text(encoding="utf-8") == FASTER


def test_what_the_search_hands_over_answers_calls(search, tmp_path):
    spec = Spec(name="scaled", function=slow, examples=[(torch.zeros(4, 8), torch.zeros(8))])
    handle = Optimization(slow, spec, share=0.0, backward=None, folder=None, cache=None)
    handle._cache = Cache(tmp_path / "cache")
    search(FASTER, heard=handle._heard)
    x, w = torch.randn(6, 8), torch.randn(8)
    assert WATCHER.drain()
    handle.swap.now(x, w)
    assert WATCHER.drain()
    report = handle.report()
    assert report.runs == "kernel", report
    assert report.device.median > 1
    assert report.search == "finished"
    torch.testing.assert_close(handle.swap.now(x, w), slow(x, w))


@pytest.mark.slow
def test_a_kernel_that_takes_its_process_along_is_banned(search, tmp_path, monkeypatch):
    from triton_gym.optimization import candidates as module

    monkeypatch.setattr(module, "objection", lambda source: None)
    faults = FASTER.replace("return", "import os; os.abort(); return")
    said = search(faults, FASTER)
    first, second = named(said, "candidate")
    assert first["died"]
    assert second["faster"]
    assert Cache(tmp_path / "cache").banned(faults)


FOUND = {
    "ok": True, "faster": True, "why": "", "choices": {}, "device": [2.0, 1.9, 2.1],
    "wall": [2.0, 1.9, 2.1], "decided_after": 9, "wins": 9, "evalue": 99.0, "needed": 40.0,
    "timed": {"tolerances": [1e-6], "spared": [0.0], "exact": False, "typical": [1e-6]},
    "device_us": [], "wall_us": [],
}  # fmt: skip
"""What the process that tries candidates says of a faster one."""


def test_what_torch_compile_makes_faster_is_left_to_it(search, tmp_path, monkeypatch):
    """A kernel that beats eager alone is not swapped in; one that is found later is."""
    first, beside = FASTER.replace("2.0", "2.00"), {"device": [0.8, 0.8, 0.8], "faster": False}

    def try_candidate(self, request, seconds=0.0):
        slower = request["source"] == first
        return FOUND | {"compiled": beside | {"slower": slower, "faster": not slower}}

    monkeypatch.setattr(
        "triton_gym.optimization.candidates.TrialProcess.try_candidate", try_candidate
    )
    said = search(first)
    assert not named(said, "swap")
    (finished,) = named(said, "finished")
    assert "torch.compile is faster, 1.25 times" in finished["says"]
    assert Cache(tmp_path / "cache").get("a" * 64).verified is None
    for folder in ("run", "cache"):
        shutil.rmtree(tmp_path / folder)
    said = search(first, FASTER)
    assert len(named(said, "swap")) == 1
    verified = Cache(tmp_path / "cache").get("a" * 64).verified
    assert verified.source == FASTER
    assert verified.beats_compile
    assert verified.compiled.median == 0.8


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def test_a_search_that_is_killed_at_any_write_goes_on(search, tmp_path, monkeypatch):
    """Its files are whole, so what begins again ends as if nothing had been."""
    from triton_gym.optimization import cache as cache_module
    from triton_gym.optimization import search_folder

    tried = []

    def try_candidate(self, request, seconds=0.0):
        tried.append(request["source"])
        return FOUND if request["source"] == FASTER else {"ok": False, "faster": False, "why": "no"}

    monkeypatch.setattr(
        "triton_gym.optimization.candidates.TrialProcess.try_candidate", try_candidate
    )
    write, left = search_folder.write_whole, [0]

    def killed(path, content):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return write(path, content)

    for module in (search_folder, cache_module):
        monkeypatch.setattr(module, "write_whole", killed)
    first, moment = FASTER.replace("2.0", "2.1"), 0
    while True:
        moment += 1
        left[0] = moment
        try:
            search(first, FASTER)
        except Killed:
            left[0] = 0  # writes are negative from here on: nothing ends it
            said = search(first, FASTER)
            assert [one["number"] for one in named(said, "swap")][-1:] == [2]
        else:
            break
        entry = Cache(tmp_path / "cache").get("a" * 64)
        assert entry.finished
        assert entry.verified.source == FASTER
        assert (tmp_path / "run" / "best.py").read_text(encoding="utf-8") == FASTER
        for folder in ("run", "cache"):
            shutil.rmtree(tmp_path / folder)
    assert moment > 8  # so many writes there are
    assert tried.count(FASTER) <= 2 * moment  # once a run, and again where that was not written


def test_the_program_goes_on_when_its_search_is_killed(tmp_path):
    spec = Spec(
        name="scaled", function=slow, examples=[(torch.zeros(4, 8), torch.zeros(8))],
        device="simulated",
    )  # fmt: skip
    handle = Optimization(slow, spec, share=0.0, backward=None, folder=None, cache=tmp_path)
    handle.begin()
    assert WATCHER.drain()
    os.kill(handle._process.pid, signal.SIGKILL)
    assert handle.wait(60)
    assert handle._process.wait(60)
    report = handle.report()
    assert (report.search, report.runs) == ("failed", "original")
    assert "ended with -9" in report.search_says
    x, w = torch.randn(4, 8), torch.randn(8)
    torch.testing.assert_close(handle.swap.now(x, w), slow(x, w))
    (entry,) = tmp_path.glob("*.lock")
    with Cache(tmp_path).lock(entry.stem) as free:  # another search may begin
        assert free
