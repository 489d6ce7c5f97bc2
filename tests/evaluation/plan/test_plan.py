"""What comes from a recorder is read exactly and holds together, or it is not read."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from triton_gym.evaluation.plan.codec import Malformed, decode, encode
from triton_gym.evaluation.plan.messages import (
    Compile,
    Dialect,
    FromRecorder,
    Option,
    Recorded,
    Seen,
    Timed,
    pack,
    unpack,
)
from triton_gym.evaluation.plan.plan import HOST_BYTES, Call, Plan, validate
from triton_gym.evaluation.plan.step import Buffer, BufferKind, Copy, Launch, Pointer, Read, Scalar
from triton_gym.evaluation.plan.value import DeviceTensor, Plain
from triton_gym.evaluation.plan.view import View
from triton_gym.evaluation.plan.window import ARGUMENTS, SCRATCH


def travelled(value):
    return json.loads(json.dumps(encode(value)))


def test_what_was_written_is_read(plan):
    validate(plan)
    assert decode(Plan, travelled(plan)) == plan
    assert unpack(FromRecorder, json.loads(json.dumps(pack(Recorded(plan))))) == Recorded(plan)
    request = Compile(0, "k", Dialect.TRITON, "module {}", (Option("num_warps", Plain.of(4)),), 3)
    assert decode(FromRecorder, travelled(request)) == request
    assert decode(Seen, travelled(Seen(b"\x00\xff"))).data == b"\x00\xff"
    assert decode(Timed, travelled(Timed((math.inf, 1e-6)))).seconds == (math.inf, 1e-6)
    for number in (True, -7, 2.5, math.inf):
        assert decode(Plain, travelled(Plain.of(number))).number == number


JUNK = (
    None, True, -1, 0, 1, 7, 2**63, 2**64, -(2**70), 0.5, math.nan, math.inf, "", "x" * 9999, "nan",
    "Launch", [], [[]], ["Pointer", 0], ["Plan"], {}, {"a": 1}, [1] * 5000,
)  # fmt: skip


def places(value, path=()):
    yield path
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def test_a_plan_with_anything_else_in_it_is_malformed_or_another_plan(plan):
    """Whatever is put wherever: `Malformed` is the only exception, and nothing is read loosely."""
    rng = random.Random(0)
    whole = travelled(plan)
    everywhere = list(places(whole))
    read = 0
    for _ in range(1000):
        broken = json.loads(json.dumps(whole))
        *path, last = rng.choice(everywhere) or (0,)
        inner = broken
        for index in path:
            inner = inner[index]
        junk = rng.choice(JUNK)
        if rng.random() < 0.2:
            inner.insert(last, junk)
        elif rng.random() < 0.2:
            del inner[last]
        else:
            inner[last] = junk
        try:
            found = decode(Plan, broken)
            validate(found)
        except Malformed:
            continue
        read += 1
        assert travelled(found) == broken
    assert read  # an offset, a line or a scalar may be another


def test_nested_without_end_is_malformed():
    nested = ["Plain", "none", ""]
    for _ in range(5000):
        nested = ["Sequence", "list", [nested]]
    with pytest.raises(Malformed):
        decode(DeviceTensor | Plain, nested)
    from triton_gym.evaluation.plan.value import Value

    with pytest.raises(Malformed, match="deeply"):
        decode(Value, nested)


def with_step(plan, step):
    return replace(plan, call=replace(plan.call, steps=(*plan.call.steps[:-1], step)))


def launch(plan, *arguments):
    whole = next(step for step in plan.call.steps if isinstance(step, Launch))
    return replace(whole, arguments=(*arguments, *whole.arguments[len(arguments) :]))


def test_addresses_outside_the_answers_buffers_are_malformed(plan):
    end = ARGUMENTS.start + 512
    validate(with_step(plan, launch(plan, Pointer(end))))  # an empty tensor may lie there
    strays = [
        launch(plan, Pointer(end + 1)),
        launch(plan, Pointer(SCRATCH.start + 5000)),
        replace(launch(plan), global_scratch=SCRATCH.end - 1),
        Copy(View("float32", ARGUMENTS.start, (129,), (1,)),
             View("float32", SCRATCH.start, (129,), (1,)), 1),
        Copy(View("float32", ARGUMENTS.start, (2,), (-1,)),
             View("float32", SCRATCH.start, (2,), (1,)), 1),
        Read(end - 2, 4, 0, 1),
    ]  # fmt: skip
    for step in strays:
        with pytest.raises(Malformed, match="outside"):
            validate(with_step(plan, step))
    for result in (View("int8", end, (1,), (1,)), View("int8", SCRATCH.end, (0,), (1,))):
        with pytest.raises(Malformed, match="result"):
            validate(replace(plan, call=Call(plan.call.steps, DeviceTensor(result))))


def test_launches_that_do_not_fit_their_kernel_are_malformed(plan):
    for wrong in (
        launch(plan, Scalar("i64", SCRATCH.start)),
        replace(launch(plan), arguments=launch(plan).arguments[:-1]),
        replace(launch(plan), kernel=1),
    ):
        with pytest.raises(Malformed):
            validate(with_step(plan, wrong))
    for grid in ((0, 1, 1), (2**31, 1, 1), (1, 65536, 1)):
        with pytest.raises(Malformed, match="grid"):
            replace(launch(plan), grid=grid)
    with pytest.raises(Malformed, match="bits"):
        Scalar("i32", 2**32)


@pytest.mark.parametrize(
    ("buffer", "why"),
    [
        (Buffer(4, SCRATCH.start + 512, 64, BufferKind.SCRATCH, 3, 5), "overlap"),
        (Buffer(4, ARGUMENTS.start, 8, BufferKind.ARGUMENT), "overlap"),
        (Buffer(4, ARGUMENTS.start + 1024, 8, BufferKind.SCRATCH), "zone"),
        (Buffer(4, SCRATCH.end - 512, 513, BufferKind.SCRATCH), "zone"),
        (Buffer(4, SCRATCH.start + 8193, 8, BufferKind.SCRATCH), "aligned"),
        (Buffer(5, SCRATCH.start + 8192, 8, BufferKind.SCRATCH), "numbered"),
        (Buffer(4, SCRATCH.start + 8192, 8, BufferKind.SCRATCH, 99), "after"),
        (Buffer(4, SCRATCH.start + 8192, 8, BufferKind.SCRATCH, 5, 3), "before"),
    ],
)
def test_buffers_that_cannot_be_are_malformed(plan, buffer, why):
    with pytest.raises(Malformed, match=why):
        validate(replace(plan, buffers=(*plan.buffers, buffer)))


def test_memory_that_was_freed_is_another_buffers(plan):
    many = tuple(
        Buffer(n + 4, SCRATCH.start + 8192, 64, BufferKind.SCRATCH, n, n + 1) for n in range(8)
    )
    validate(replace(plan, buffers=plan.buffers + many))


def test_a_call_that_looks_at_values_looks_at_few(plan):
    large = Buffer(4, SCRATCH.start + 8192, 2 * HOST_BYTES, BufferKind.SCRATCH)
    wide = replace(plan, buffers=(*plan.buffers, large), blob_bytes=1 << 20)
    read = Read(large.address, HOST_BYTES, 0, 1)
    with pytest.raises(Malformed, match="allowed"):  # another 4 bytes are read before
        validate(with_step(wide, read))


def test_extents_and_bytes_of_views():
    flipped = View("int16", 1000, (3, 4), (-4, 1))
    assert flipped.extent == (1000 - 16, 1008)
    repeated = View("float32", 0, (8, 16), (0, 1))
    assert (repeated.nbytes, repeated.distinct_bytes, repeated.contiguous) == (512, 64, False)
    assert View("int8", 5, (0, 3), (3, 1)).extent == (5, 5)
    assert View("int8", 5, (2, 1, 3), (3, 99, 1)).contiguous
