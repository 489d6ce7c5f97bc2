"""Every task of the catalogue: what must pass passes, what is trivial fails."""

from __future__ import annotations

import random

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import triton_gym
from triton_gym import knobs
from triton_gym.evaluation import check
from triton_gym.suites.reading import Reading

TASKS = triton_gym.tasks()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.sampled
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("answer", ["starter", "expert"])
def test_starter_and_expert_are_correct(name, answer, any_evaluator):
    task = triton_gym.load(name)
    for seed in (3,) if any_evaluator.deterministic else (3, None):
        outcome = any_evaluator.evaluate(task, getattr(task, answer), seed=seed)
        assert outcome.correct, outcome.message
        assert 0 < outcome.roofline <= 1.05
        assert outcome.registers > 0


@pytest.mark.gpu
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("answer", ["starter", "expert"])
def test_every_case_and_dtype_on_the_gpu(name, answer, gpu_evaluator):
    import dataclasses

    task = triton_gym.load(name)
    for case in (*task.bench[1:], *task.untimed):
        other = dataclasses.replace(task, bench=(case,))
        outcome = gpu_evaluator.evaluate(other, getattr(task, answer))
        assert outcome.correct, f"{case}: {outcome.message}"


def trivial(plain, inputs, other):
    """Answers that need no work, by name; of a result of integers those that it can hold."""
    found = {
        "zeros": torch.zeros_like(plain),
        "ones": torch.ones_like(plain),
        "other inputs": other,
        "double": plain * 2,
        "negated": -plain,
        "shifted": plain.flatten().roll(1).view_as(plain),
    }
    if plain.is_floating_point():
        found |= {
            "constant": torch.full_like(plain, 0.37),
            "mean": torch.full_like(plain, float(plain.double().mean())),
            "row means": plain.double().mean(-1, keepdim=True).expand_as(plain).to(plain.dtype),
            "NaN": torch.full_like(plain, float("nan")),
            "infinity": torch.full_like(plain, float("inf")),
        }
    for index, x in enumerate(inputs):
        if isinstance(x, torch.Tensor):
            copy = x.flatten().to(plain.dtype)
            repeats = -(-plain.numel() // copy.numel())
            found[f"input {index}"] = copy.repeat(repeats)[: plain.numel()].view_as(plain)
    return found


@pytest.mark.parametrize("name", TASKS)
def test_hidden_cases_try_every_size_near_its_end_and_one_is_tiny(name):
    task = triton_gym.load(name)
    for seed in range(20):
        cases = task.hidden(random.Random(seed), 3, tiny=False)
        assert len(set(cases)) == 3
        assert {case.dtype for case in cases} == set(task.dtypes)
        for size, span in task.spans.items():
            drawn = [case.sizes[size] for case in cases]
            assert all(span.low <= n <= span.high for n in drawn)
            assert drawn[0] <= span.tiny
            assert max(drawn) >= 0.7 * span.high


@pytest.mark.sampled
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", TASKS)
def test_trivial_answers_fail(name, device):
    task = triton_gym.load(name)
    rng = random.Random(7)
    where = torch.device(device)
    hidden = task.hidden(rng, 3, tiny=device == "cpu")
    caught: dict[str, bool] = {}
    for index, case in enumerate([*task.tiny, *hidden]):
        inputs = check.draw_inputs(task, case, 100 + index, where)
        expected = check.expect(task, case, inputs)
        assert all(
            x.double().isfinite().all() for x in inputs if isinstance(x, torch.Tensor)
        )  # fmt: skip
        plain = check.reference(task, inputs)
        assert check.compare(plain, expected, "").ok, f"the reference fails on {case}"
        others = check.reference(task, check.draw_inputs(task, case, 900 + index, where))
        for output, other in enumerate(others):
            for kind, result in trivial(plain[output], inputs, other).items():
                if result.equal(plain[output]):
                    continue  # on one column, say, a shifted softmax is a softmax
                results = [*plain[:output], result, *plain[output + 1 :]]
                verdict = check.compare(results, expected, str(case))
                which = f"{kind}, output {output}"
                caught[which] = caught.get(which, False) or not verdict.ok
    assert all(caught.values()), [kind for kind, found in caught.items() if not found]


@pytest.mark.parametrize("name", TASKS)
def test_lower_precision_fails(name):
    """A float32 task computed in half precision is out of tolerance."""
    task = triton_gym.load(name)
    cases = [case for case in task if case.dtype == "float32"]
    for case in cases[:1]:
        inputs = check.draw_inputs(task, case, 5, torch.device("cpu"))
        expected = check.expect(task, case, inputs)
        halved = [
            x.bfloat16() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
            for x in inputs
        ]
        low = [x.float() if x.is_floating_point() else x for x in check.reference(task, halved)]
        assert not check.compare(low, expected, str(case)).ok


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_whole(name):
    task = triton_gym.load(name)
    assert task.name == name
    assert set(task.knobs) <= set(knobs.read(task.expert))
    # Codes of SPEC's are in single precision; others are about one dtype by their name or nature.
    single = {
        "matmul_fp32", "int8_matmul", "retinanet_box_iou", "two_simplicial_attention_backward",
    }  # fmt: skip
    assert len(task.dtypes) >= 2 or "spec" in task.tags or name in single
    for case in task:
        assert task.flops(case) > 0
        assert task.min_bytes(case) > 0
        assert task.reduction(case) >= 1
    for knob, value in knobs.read(task.expert).items():
        if knob in task.knobs:
            assert value in task.knobs[knob]


@pytest.mark.sampled
@pytest.mark.parametrize("name", TASKS)
def test_no_byte_is_counted_that_need_not_be_read(name):
    """Who reads less than is counted would be faster than the speed of light."""
    task = triton_gym.load(name)
    for case in task:
        with FakeTensorMode():
            inputs = task.inputs(case, torch.Generator())
            given = [x for x in inputs if isinstance(x, torch.Tensor)]
            with Reading(given) as reading:
                found = task.reference(*inputs)
        results = found if isinstance(found, tuple) else (found,)
        moved = reading.bytes(results) + sum(x.numel() * x.element_size() for x in results)
        assert task.min_bytes(case) <= 1.01 * moved  # windows that are looked up count once


@pytest.mark.parametrize("name", TASKS)
def test_inputs_follow_their_seed(name):
    task = triton_gym.load(name)
    case, where = task.tiny[0], torch.device("cpu")
    first, again, other = (check.draw_inputs(task, case, seed, where) for seed in (1, 1, 2))
    tensors = [i for i, x in enumerate(first) if isinstance(x, torch.Tensor)]
    assert all(first[i].equal(again[i]) for i in tensors)
    # Some may be the same for every seed, as the edges of a histogram's bins.
    assert not all(first[i].equal(other[i]) for i in tensors)
