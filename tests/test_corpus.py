"""The corpus of kernels that the time model is held against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
HELD_OUT = {
    "scans", "transposes", "gathers and scatters", "sort and top-k", "split-K and atomics",
    "int8 and fp8 products", "convolution", "stencils", "cross entropy",
    "attention with bias or windows",
}  # fmt: skip


@pytest.fixture(scope="module")
def families():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import corpus
    finally:
        sys.path.remove(str(BENCHMARKS))
    return corpus.FAMILIES


def test_there_are_many_kernels_and_no_held_out_family_may_be_fitted(families):
    kernels = [kernel for family in families for kernel in family.kernels]
    assert len(kernels) >= 120
    assert len({kernel.name for kernel in kernels}) == len(kernels)
    assert {family.name for family in families if not family.fitted} == HELD_OUT


def test_configurations_differ_and_are_answers(families):
    for family in families:
        for kernel in family.kernels:
            sources = [kernel.source(config) for config in kernel.configurations()]
            assert len(set(sources)) == len(sources)
            for source in sources:
                compile(source, kernel.name, "exec")


def test_a_run_goes_on_where_it_ended_and_keeps_failures(tmp_path):
    out = tmp_path / "corpus.json"
    command = [
        sys.executable, str(BENCHMARKS / "corpus_measure.py"), "--device", "simulated:h200",
        "--workers", "1", "--seconds", "300", "--most", "1", "--only", "rotary_heads",
        "--out", str(out),
    ]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "1 of 1 correct, 0 not reached" in first.stdout
    (kernel,) = json.loads(out.read_text())["rows"]
    assert kernel["family"] == "elementwise"
    assert kernel["configurations"][0]["runtime_us"] > 0
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "0 configurations to measure" in again.stdout
