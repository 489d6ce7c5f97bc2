"""Answers that are modules: built as the reference is, given its state, recorded in forward."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from triton_gym import Entry, InvalidTaskError, Status
from triton_gym.audit.modules import MODULE_VICTIMS, task_of
from triton_gym.evaluation import check, modules

LINEAR = MODULE_VICTIMS["audit_linear_relu"]
TASK = task_of("audit_linear_relu")
CASE = TASK.tiny[0]
CPU = torch.device("cpu")


class Layer(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(n, n))
        self.register_buffer("shift", torch.rand(n))
        self.flat = self.weight.data.view(-1)


def test_both_sides_build_the_same():
    first, second = (modules.build(Layer, (4,), 7, "float32") for _ in range(2))
    other = modules.build(Layer, (4,), 8, "float32")
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


def test_building_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    modules.build(Layer, (4,), 7, "float32")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_state_is_copied_by_name_into_what_is_there():
    reference, answer = (
        modules.build(Layer, (4,), 1, "float32"),
        modules.build(Layer, (4,), 2, "float32"),
    )
    state = [*modules.named_state(reference), ("gone", torch.zeros(2))]
    assert modules.load_state(answer, state) == ["gone"]
    assert torch.equal(answer.weight, reference.weight)
    assert torch.equal(answer.shift, reference.shift)
    assert torch.equal(answer.flat, reference.weight.flatten())  # a view of before sees it


def test_other_shapes_are_left_alone():
    answer = modules.build(Layer, (4,), 2, "float32")
    before = answer.weight.detach().clone()
    assert modules.load_state(answer, [("weight", torch.zeros(3, 3))]) == ["weight"]
    assert torch.equal(answer.weight, before)


def test_values_that_do_not_matter_are_not_drawn():
    made = modules.build(Layer, (512,), 1, "bfloat16", filled=False)
    assert made.weight.shape == (512, 512)
    assert made.weight.dtype == torch.bfloat16


def test_arguments_survive_the_way_to_a_worker():
    import json

    given = (1, 2.5, "zeros", None, True, (1, [2, (3,)]), {"a": (4,)}, torch.float16)
    assert modules.unpack(json.loads(json.dumps(modules.pack(given)))) == given
    with pytest.raises(InvalidTaskError, match="got Tensor"):
        modules.pack((torch.ones(1),))


def test_the_oracle_has_its_parameters_in_float64():
    task = modules.bind(TASK, CASE, 3, CPU)
    inputs = check.draw_inputs(task, CASE, 1, CPU)
    plain, exact = check.reference(task, inputs)[0], check.oracle(task, inputs)[0]
    assert (plain.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert 0 < float((plain - exact).abs().max()) < 1e-5


def test_the_seed_of_the_parameters_hides_that_of_the_inputs():
    assert len({modules.init_seed(seed) for seed in range(100)}) == 100
    assert modules.init_seed(5) != 5


def test_kinds_are_checked():
    with pytest.raises(InvalidTaskError, match="function, module"):
        Entry("f", ("x",), "class")
    broken = dataclasses.replace(TASK, reference=lambda n, m: 1)
    with pytest.raises(InvalidTaskError, match=r"torch\.nn\.Module"):
        modules.bind(broken, CASE, 1)


ANSWERS = {
    "honest": (LINEAR.answer(), Status.CORRECT, ""),
    "other names, same order": (
        LINEAR.answer().replace("self.linear", "self.fc"), Status.CORRECT, "",
    ),
    "not initialised, same names": (
        LINEAR.answer(init="nn.init.zeros_(self.linear.weight)"), Status.CORRECT, "",
    ),
    "a layer called, to no end": (
        LINEAR.answer("y = $torch\n$launch\nreturn y"), Status.CORRECT, "",
    ),
    "a layer called": (
        LINEAR.answer("$launch\nreturn y + 0 * ($torch)"), Status.REJECTED, "addmm",
    ),
    "a layer called, for a kernel": (
        LINEAR.answer("z = self.linear(x)\nx = x + 0 * z[:, :1]\n$launch\nreturn y"),
        Status.REJECTED, "addmm",
    ),
    "a layer called in the constructor": (
        LINEAR.answer(init="self.warm = self.linear(torch.zeros(1, n))"), Status.CORRECT, "",
    ),
    "other parameters": (
        LINEAR.answer().replace("self.linear", "self.fc").replace(
            "self.fc = nn.Linear(n, m)", "torch.rand(3)\n        self.fc = nn.Linear(n, m)"
        ),
        Status.INCORRECT, "Wrong result",
    ),
    "no such class": (
        LINEAR.answer().replace("ModelNew", "Other") + "\nOther\n", Status.COMPILE_ERROR, "class",
    ),
    "no module": (
        LINEAR.answer(base="object"), Status.COMPILE_ERROR, "inherits from torch.nn.Module",
    ),
    "a constructor that fails": (
        LINEAR.answer(init="raise ValueError('no')"), Status.RUNTIME_ERROR, "no",
    ),
    "another constructor": (
        LINEAR.answer().replace("self, n, m", "self, n"), Status.RUNTIME_ERROR, "__init__",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_outcomes(any_evaluator, name):
    source, status, told = ANSWERS[name]
    outcome = any_evaluator.evaluate(TASK, source, seed=1)
    assert outcome.status is status, outcome.message
    assert told in outcome.message
