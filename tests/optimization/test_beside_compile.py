"""A candidate is held against what `torch.compile` makes, too; here both are plain PyTorch."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from triton_gym.optimization import bench_process
from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.beside_compile import LEAST, MARGIN, Beside
from triton_gym.optimization.decision import Decision
from triton_gym.optimization.pairs import Pair, Times
from triton_gym.optimization.trial import Bench

KERNEL = """
import torch

def scaled(x, w):
    return torch.mul(x, w) * 2.0
"""


def pairs_of(ratio, count=LEAST, lost=None):
    """Pairs whose first call takes `ratio` times the candidate's; `lost` of them, else as long."""
    lost = count if lost is None else lost
    times = [Times(100 * ratio if i < lost else 100, 50) for i in range(count)]
    return [Pair(now, Times(100, 50)) for now in times]


def test_slower_is_what_pairs_show():
    assert Beside.of(pairs_of(0.9), Decision(1)).slower
    assert Beside.of(pairs_of(0.98), Decision(1)).slower
    assert not Beside.of(pairs_of(1 - MARGIN / 2), Decision(1)).slower  # clocks cannot tell
    assert not Beside.of(pairs_of(0.9, lost=LEAST // 2), Decision(1)).slower
    assert not Beside.of(pairs_of(1.1), Decision(1)).slower
    told = Beside.of(pairs_of(0.9), Decision(1)).told()
    assert told["device"][0] == pytest.approx(0.9)
    assert (told["slower"], told["faster"]) == (True, False)


def slow(x, w, factor=2.0):
    time.sleep(0.02)
    return x * w * factor


def quick(x, w, factor=2.0):
    return x * w * factor


@pytest.fixture
def bench(traced_of, tmp_path):
    """Makes a bench whose compiler makes what it is told to."""
    traced = traced_of(function=slow)
    example = (torch.randn(4, 8), torch.randn(8)), {}
    return lambda compiler: Bench(slow, traced, [example], tmp_path, compiler=compiler)


def tried(made, against="eager", sleeps=0.0):
    kernel = KERNEL.replace("return", f"import time; time.sleep({sleeps}); return")
    return made.try_candidate(kernel, number=1, now=None, against=against, seed=0, least=0)


def test_a_kernel_that_beats_eager_is_held_against_the_compiled_program(bench):
    found = tried(bench(lambda function: quick), sleeps=0.005)
    assert found["faster"]
    assert found["compiled"]["slower"]
    assert found["compiled"]["device"][2] < 1
    found = tried(bench(lambda function: slow))
    assert found["faster"]
    assert not found["compiled"]["slower"]
    found = tried(bench(lambda function: quick), against="eager-only", sleeps=0.005)
    assert found["faster"]
    assert found["compiled"] is None


def test_where_nothing_can_be_compiled_it_is_said(bench):
    def fails(function):
        raise RuntimeError("no such operator")

    found = tried(bench(fails))
    assert found["faster"]
    assert found["compiled"] is None
    assert "no such operator" in found["not_compiled"]
    assert "on this device" in tried(bench(None))["not_compiled"]


PROCESS = """#!{python}
import sys
print('{{"ready": true}}', flush=True)
for line in sys.stdin:
    if '"compiles": true' in line:
        sys.exit(1)
    print('{{"prepared": true}}' if "compiles" in line else '{{"ok": true}}', flush=True)
"""


AT_ONCE = """#!{python}
import sys
sys.stdin.readline()
print('{{"ready": true}}', '{{"prepared": true}}', sep="\\n", flush=True)
for line in sys.stdin:
    print('{{"ok": true}}', flush=True)
"""


def test_a_process_that_was_ready_long_before_is_not_taken_for_dead(tmp_path, monkeypatch):
    """Both of its words lie in the pipe when the first candidate comes."""
    script = tmp_path / "python"
    script.write_text(AT_ONCE.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(bench_process.sys, "executable", str(script))
    monkeypatch.setattr(bench_process, "PREPARE_S", 1.0)
    process = TrialProcess(tmp_path)
    process.prepare()
    assert process.try_candidate({"source": ""}, 30) == {"ok": True}
    assert process._compiles
    process.close()


def test_a_compiler_that_takes_its_process_along_bans_no_kernel(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text(PROCESS.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(bench_process.sys, "executable", str(script))
    process = TrialProcess(tmp_path)
    process.prepare()
    assert process.try_candidate({"source": ""}, 30) == {"ok": True}
    assert process.try_candidate({"source": ""}, 30) == {"ok": True}
    process.close()
    script.write_text("#!/bin/false\n")  # it does not even start
    found = TrialProcess(tmp_path).try_candidate({"source": ""}, 30)
    assert (found["ok"], found["died"]) == (False, False)
