"""What an answer writes outside of its tensors: seen, told, and nothing else taken for it."""

from __future__ import annotations

import itertools

import pytest
import torch

import triton_gym
from triton_gym import Evaluator, Status
from triton_gym.evaluation.backends.cuda.margins import EDGE, NEAR, Margins, fill, untouched, words
from triton_gym.evaluation.plan.step import Buffer, BufferKind
from triton_gym.evaluation.plan.window import ALIGN, GAP, SCRATCH
from triton_gym.evaluation.recording.allocator import Allocator

SIZE = 1 << 16
WORD = 0x7FFDFFFE


def buffer(start: int, nbytes: int) -> Buffer:
    return Buffer(0, SCRATCH.start + start, nbytes, BufferKind.SCRATCH)


BUFFERS = [buffer(0, 1218), buffer(2048, 7), buffer(2048, 4099), buffer(8192, 1)]
"""Odd sizes; the third takes the second one's memory after its end."""
OWNED = [(0, 1218), (2048, 2048 + 4099), (8192, 8193)]


@pytest.fixture
def around():
    return Margins.around(BUFFERS, SCRATCH.start, SIZE)


@pytest.fixture
def memory(around):
    found = torch.zeros(SIZE, dtype=torch.uint8)
    fill(found, around, WORD)
    return found


def test_gaps_are_all_that_no_tensor_has(around, memory):
    whole = torch.zeros(SIZE, dtype=torch.bool)
    for low, high in around.gaps:
        whole[low:high] = True
    owned = torch.zeros(SIZE, dtype=torch.bool)
    for low, high in OWNED:
        owned[low:high] = True
    assert torch.equal(whole, ~owned)
    same = torch.full((SIZE // 4,), WORD, dtype=torch.int32).view(torch.uint8)
    assert torch.equal(memory[whole], same[whole])
    assert (memory[owned] == 0).all()


def test_tensors_may_be_written_whole(around, memory):
    for low, high in OWNED:
        memory[low:high] = 1
    assert untouched([(memory, around)], WORD, EDGE)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (1218, "1 bytes past the end of a tensor of the answer's of 1218 bytes"),
        (1221, "4 bytes past the end of a tensor of the answer's of 1218 bytes"),
        (2047, "1 bytes before the start of a tensor of the answer's of"),
        (6147, "1 bytes past the end of a tensor of the answer's of 4099 bytes"),
        (SIZE - 1, "57343 bytes past the end of a tensor of the answer's of 1 bytes"),
    ],
)
def test_a_byte_outside_is_seen_and_told(around, memory, place, told):
    memory[place] = 7
    assert not untouched([(memory, around)], WORD, EDGE)
    text = around.complaint(memory, WORD)
    assert text.startswith(f"OutOfBoundsError: out-of-bounds store {told}")
    assert "; 1 bytes outside of every tensor were changed" in text


def test_several_memories_are_looked_at_together(around, memory):
    other = memory.clone()
    assert untouched([(memory, around), (other, around)], WORD, NEAR)
    other[1218] = 0
    assert not untouched([(memory, around), (other, around)], WORD, NEAR)


def test_an_answer_without_tensors_has_no_place_to_write():
    nothing = Margins.around([], SCRATCH.start, SIZE)
    memory = torch.zeros(SIZE, dtype=torch.uint8)
    fill(memory, nothing, WORD)
    assert untouched([(memory, nothing)], WORD, EDGE)
    memory[3] = 0
    assert "where the answer has no tensor" in nothing.complaint(memory, WORD)


def test_what_memory_is_filled_with_is_nan_and_changes():
    found = list(itertools.islice(words(3), 40))
    assert all(a != b for a, b in itertools.pairwise(found))
    assert found != list(itertools.islice(words(4), 40))
    for word in set(found):
        data = torch.full((8,), word - (1 << 32 if word >> 31 else 0), dtype=torch.int32)
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            assert data.view(dtype).isnan().all()


def test_buffers_never_meet():
    allocator, ends = Allocator(1 << 40), []
    for nbytes in (1, 512, 496, 497, 1 << 20, 3 << 20, 2 << 20, 20 << 20, 64 << 20, 512):
        start = allocator.allocate(nbytes)
        assert start % ALIGN == 0
        ends.append((start, start + nbytes))
    for (_, end), (start, _) in itertools.pairwise(sorted(ends)):
        assert start - end >= GAP


HEAD = """import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x_ptr, y_ptr, cols, stop, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    at = row * cols + col
    x = tl.load(x_ptr + at, mask=col < cols, other=0.0).to(tl.float32)
    total = tl.sum(x, axis=0)
    STORE
"""
ONE_TOO_MANY = HEAD.replace(
    "STORE",
    "two = tl.arange(0, 2)\n"
    "    tl.store(y_ptr + row + two, total, mask=(two == 0) | (row + 1 == stop))",
)
"""The last row's program stores a second element, which lies behind the result."""
PLAIN = HEAD.replace("STORE", "tl.store(y_ptr + row, total)")
HOST = """

def sum_rows(x):
    rows, cols = x.shape
    BODY
    return y
"""
CALL = "add_kernel[(rows,)](x, y, cols, rows, BLOCK=triton.next_power_of_2(cols))"


def answer(kernel: str, *body: str) -> str:
    return kernel + HOST.replace("BODY", "\n    ".join(body))


EMPTY = "y = torch.empty((rows,), device=x.device, dtype=x.dtype)"
HONEST = {
    "a view of larger memory": answer(
        PLAIN,
        "room = torch.empty((2 * rows + 3,), device=x.device, dtype=x.dtype)",
        "room.zero_()",
        "y = room[1 : rows + 1]",
        CALL,
    ),
    "memory that is used again": answer(
        PLAIN,
        "for _ in range(3):",
        "    y = torch.empty((rows,), device=x.device, dtype=x.dtype)",
        f"    {CALL}",
        "    y = y.clone()",
    ),
    "padding of its own": answer(
        ONE_TOO_MANY,
        "room = torch.empty((rows + 1,), device=x.device, dtype=x.dtype)",
        "y = room[:rows]",
        CALL,
    ),
    "memory kept between calls": answer(
        PLAIN.replace("\n\n\n@triton.jit", "\n\nKEPT = {}\n\n\n@triton.jit", 1),
        "key = (rows, x.dtype)",
        "if key not in KEPT:",
        "    KEPT[key] = torch.zeros((rows + 5,), device=x.device, dtype=x.dtype)",
        "y = KEPT[key][:rows]",
        CALL,
        "y = y.clone()",
    ),
    "nothing in some tensor": answer(
        PLAIN, "none = torch.empty((0,), device=x.device)", EMPTY, CALL
    ),
    "strides of its own": answer(
        PLAIN,
        "y = torch.empty_strided((rows, 3), (1, rows + 8), device=x.device, dtype=x.dtype)[:, 1]",
        CALL,
    ),
}


@pytest.fixture(scope="module")
def judged():
    with Evaluator("cuda:0", workers=1) as found:
        yield found


@pytest.mark.gpu
@pytest.mark.parametrize("name", HONEST)
def test_honest_memory_is_the_answer_s_own(judged, name):
    outcome = judged.evaluate(triton_gym.load("sum_rows"), HONEST[name])
    assert outcome.correct, outcome.message


@pytest.mark.gpu
def test_a_store_past_the_end_is_refused_though_the_result_is_right(judged):
    outcome = judged.evaluate(triton_gym.load("sum_rows"), answer(ONE_TOO_MANY, EMPTY, CALL))
    assert outcome.status is Status.RUNTIME_ERROR, outcome.message
    assert "OutOfBoundsError: out-of-bounds store" in outcome.message
    assert "past the end of a tensor of the answer's of" in outcome.message


@pytest.mark.gpu
def test_it_is_refused_where_only_the_timed_call_does_it(judged):
    task = triton_gym.load("sum_rows")
    rows = task.bench[0]["rows"]
    late = answer(
        ONE_TOO_MANY, EMPTY, CALL.replace("rows, BLOCK", f"rows if rows == {rows} else 0, BLOCK")
    )
    outcome = judged.evaluate(task, late)
    assert outcome.status is Status.RUNTIME_ERROR, outcome.message
    assert "(timed): OutOfBoundsError" in outcome.message
