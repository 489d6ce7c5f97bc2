"""Mutants: enough of them, all different, and a sample of them caught."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

import triton_gym

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def mutants():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import mutants
        import mutators

        yield mutants, mutators
        for name in ("mutants", "mutators", "record"):
            sys.modules.pop(name, None)


SOME = [
    "causal_attention", "cumsum_rows", "gelu", "layer_norm", "matmul", "matmul_bias_gelu", "softmax",
    "sum_rows", "two_simplicial_attention",
]  # fmt: skip
"""Tasks whose answers between them have what every operator changes."""


def everything(mutants, per_operator, names=SOME):
    runner, mutators = mutants
    return [
        (task, answer, mutant)
        for task, answer, source in runner.answers(list(names))
        for mutant in mutators.mutants(source, per_operator)
    ]


def test_there_are_enough_and_they_differ(mutants):
    found = everything(mutants, 2)
    assert len(found) >= 100
    assert {task for task, _, _ in found} == set(SOME)
    assert {m.operator for _, _, m in found} == set(mutants[1].OPERATORS)
    for _, _, mutant in found:
        ast.parse(mutant.source)
    for task, answer, source in mutants[0].answers(SOME):
        same = ast.unparse(ast.parse(source)) + "\n"
        assert not [m for t, a, m in found if (t, a, m.source) == (task, answer, same)]


def test_every_explanation_is_of_a_mutant(mutants):
    explained = json.loads((BENCHMARKS / "mutant_survivors.json").read_text())
    named = sorted({key.partition("/")[0] for key in explained})
    found = everything(mutants, 99, named)
    known = {f"{task}/{answer}: {m.change}" for task, answer, m in found}
    assert set(explained) <= known
    assert all(len(reason) > 20 for reason in explained.values())


def test_a_sample_is_caught(mutants, evaluator):
    chosen = {
        "drop a mask", "bound too small", "no maximum subtracted", "low precision",
        "skip the last block", "wrong stride", "wrong program", "lost sum",
    }  # fmt: skip
    explained = json.loads((BENCHMARKS / "mutant_survivors.json").read_text())
    sample = {}
    for task, answer, mutant in everything(mutants, 3, ["softmax"]):
        same = f"{task}/{answer}: {mutant.change}" in explained  # it computes the same
        if (task, answer) == ("softmax", "starter") and mutant.operator in chosen and not same:
            sample.setdefault(mutant.operator, mutant)
    sample["race"] = next(
        m
        for _, a, m in everything(mutants, 1, ["sum_rows"])
        if a == "atomic" and "race" in m.operator
    )
    assert set(sample) == {*chosen, "race"}
    waiting = {
        name: evaluator.submit(
            triton_gym.load("sum_rows" if name == "race" else "softmax"), mutant.source, seed=1
        )
        for name, mutant in sample.items()
    }
    survived = [name for name, future in waiting.items() if future.result().correct]
    assert survived == []
