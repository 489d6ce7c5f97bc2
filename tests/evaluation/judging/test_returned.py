"""Arguments are laid out for a recorder, and what its plan returns is held against the reference's."""

from __future__ import annotations

import pytest
import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.judging.case_layout import lay_out_arguments
from triton_gym.evaluation.judging.returned import Form, lies_well, parts_of
from triton_gym.evaluation.plan.value import (
    DeviceTensor,
    HostTensor,
    Plain,
    Sequence,
    SequenceKind,
    Table,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ALIGN, ARGUMENTS, SCRATCH
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

ROW = View("float32", SCRATCH.start, (2, 3), (3, 1))
PAIR = SequenceKind.TUPLE


def form(example: object, *, same_strides: bool = False) -> Form:
    _, tree = trees.flatten(example, numbers=True)
    return Form(tree, same_strides, "softmax", "rows=2")


def test_arguments_lie_apart_with_their_strides():
    x = torch.zeros(5, 7).t()
    arguments = (x, {"scale": 2.5, "mask": torch.zeros(0, dtype=torch.bool)}, None, [torch.ones(3)])
    layout = lay_out_arguments(trees.flatten(arguments)[1])
    first, empty, last = layout.views
    assert (first.shape, first.strides, first.dtype) == ((7, 5), (1, 7), "float32")
    assert [v.address % ALIGN for v in layout.views] == [0, 0, 0]
    assert first.address == ARGUMENTS.start < empty.address < last.address
    assert layout.nbytes == last.address + 12 - ARGUMENTS.start
    assert [b.nbytes for b in layout.buffers] == [140, 1, 12]
    assert layout.arguments == Sequence(
        PAIR,
        (
            DeviceTensor(first),
            Table((Plain.of("scale"), Plain.of("mask")), (Plain.of(2.5), DeviceTensor(empty))),
            Plain.of(None),
            Sequence(SequenceKind.LIST, (DeviceTensor(last),)),
        ),
    )


def test_parts_of_a_result_in_the_order_of_the_reference_s():
    example = {"out": torch.zeros(2, 3), "aux": (torch.zeros(()), 4, None)}
    scalar = View("float32", SCRATCH.start + 512, (), ())
    given = Table(
        (Plain.of("aux"), Plain.of("out")),
        (
            Sequence(SequenceKind.LIST, (DeviceTensor(scalar), Plain.of(9), Plain.of(None))),
            DeviceTensor(ROW),
        ),
    )
    out, aux, number = parts_of(given, form(example))
    assert (out, aux) == (ROW, scalar)
    assert isinstance(number, torch.Tensor)
    assert number.item() == 9


@pytest.mark.parametrize(
    ("given", "example", "said"),
    [
        (Plain.of(None), torch.zeros(2, 3), "returned None; expected a torch.Tensor"),
        (HostTensor("float32", (2, 3), 0), torch.zeros(2, 3), "a tensor on the CPU"),
        (DeviceTensor(ROW), torch.zeros(3, 2), r"shape \(2, 3\).*expected shape \(3, 2\)"),
        (DeviceTensor(ROW), torch.zeros(2, 3).half(), "expected shape .* dtype float16"),
        (DeviceTensor(ROW), (torch.zeros(2, 3),), "a torch.Tensor; expected a tuple of 1"),
        (Sequence(PAIR, (DeviceTensor(ROW),)), torch.zeros(2, 3), "a tuple of 1"),
        (Plain.of(1), 1.5, "a int; expected a Python float"),
        (Plain.of(True), 1, "a bool; expected a Python int"),
        (Table((Plain.of("a"),), (DeviceTensor(ROW),)), {"b": torch.zeros(2, 3)}, "dict with keys"),
        (Table((Plain.of("1"),), (DeviceTensor(ROW),)), {1: torch.zeros(2, 3)}, "dict with keys"),
        (Plain.of(10**30), 5, "more than 64 bits"),
        (Plain.of("cuda"), "cpu", "'cuda'; expected 'cpu'"),
    ],
)
def test_another_result_is_incorrect(given, example, said):
    with pytest.raises(Ended, match=said) as ended:
        parts_of(given, form(example))
    assert ended.value.status is Status.INCORRECT


def test_strides_count_where_the_task_says_so():
    turned = View("float32", SCRATCH.start, (2, 3), (1, 2))
    leaf = trees.leaves(form(torch.zeros(2, 3)).tree)[0]
    assert lies_well(ROW, leaf)
    assert not lies_well(turned, leaf)
    assert parts_of(DeviceTensor(turned), form(torch.zeros(2, 3))) == [turned]
    with pytest.raises(Ended, match="strides"):
        parts_of(DeviceTensor(turned), form(torch.zeros(2, 3), same_strides=True))
