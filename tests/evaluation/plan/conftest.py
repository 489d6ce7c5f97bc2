"""A plan to try things on."""

from __future__ import annotations

import pytest

from triton_gym.evaluation.plan.plan import Call, Plan
from triton_gym.evaluation.plan.step import (
    Buffer,
    BufferKind,
    Copy,
    Descriptor,
    Fill,
    Gather,
    Kernel,
    Launch,
    Null,
    Pointer,
    Read,
    Scalar,
    Synchronize,
    Upload,
)
from triton_gym.evaluation.plan.value import (
    DeviceTensor,
    HostTensor,
    Plain,
    Sequence,
    SequenceKind,
    Table,
)
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS, PARAMETERS, SCRATCH

X, W, Y = ARGUMENTS.start, PARAMETERS.start, SCRATCH.start
SIGNATURE = ("*fp32", "*fp32", "i32", "fp32", "*i8", "tensordesc<fp16[16, 16]>")


@pytest.fixture
def plan() -> Plan:
    """One with every kind of step, argument and value."""
    square = View("float32", X, (8, 16), (16, 1))
    kernel = Kernel(
        0, "softmax_kernel", SIGNATURE, (("BLOCK", "128"),), (("(0,)", "tt.divisibility = 16"),),
        4, 3, 1, False, False, 5,
    )  # fmt: skip
    arguments = (
        Pointer(Y), Pointer(X), Scalar("i32", 16), Scalar("fp32", 0x3F800000), Null(),
        Descriptor(W, "fp16", (16, 16), (16, 1), (16, 16), True, False),
    )  # fmt: skip
    output = View("float32", Y, (8, 16), (16, 1))
    steps = (
        Copy(View("float32", X + 124, (16,), (-1,)), View("float16", Y + 512, (16,), (1,)), 9),
        Gather(
            square, View("int64", Y + 1024, (2,), (1,)), 0, View("float32", Y, (2, 16), (16, 1)), 9
        ),
        Fill(output, 0x3F800000, 10),
        Upload(Y + 512, 16, 0, 11),
        Read(X, 4, 16, 12),
        Launch(0, (8, 1, 1), arguments, 0, 13),
        Synchronize(14),
    )
    result = Sequence(
        SequenceKind.TUPLE,
        (DeviceTensor(output), Plain.of(None), Plain.of(2.5),
         Table((Plain.of("a"), Plain.of(3)), (HostTensor("int64", (2,), 0), Plain.of(1 - 2j)))),
    )  # fmt: skip
    return Plan(
        (
            Buffer(0, X, 512, BufferKind.ARGUMENT),
            Buffer(1, W, 512, BufferKind.PARAMETER),
            Buffer(2, Y, 2048, BufferKind.SCRATCH, 1, 9),
            Buffer(3, Y, 4096, BufferKind.SCRATCH, 9),
        ),
        (kernel,), (Fill(square, 0, 1),), Call(steps, result), Call(steps, result), 64,
    )  # fmt: skip
