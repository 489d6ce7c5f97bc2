"""Whatever an answer does ends in the right status, in time, and the next evaluation works."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import pytest

import triton_gym
from triton_gym import Evaluator, Limits, Status

HEAD = "import torch\nimport triton\nimport triton.language as tl\n\n"
KERNEL = """
@triton.jit
def kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    mask = lane < cols
    x = tl.load(x_ptr + row * cols + lane, mask=mask, other=-float("inf")).to(tl.float32)
    p = tl.exp(x - tl.max(x, axis=0))
    tl.store(y_ptr + row * cols + lane, p / tl.sum(p, axis=0), mask=mask)
"""
HOST = """

def softmax(x):
    y = torch.empty_like(x)
    rows, cols = x.shape
    kernel[(rows,)](x, y, cols, BLOCK=triton.next_power_of_2(cols), num_warps=8)
    return y
"""
GOOD = HEAD + KERNEL + HOST
SPIN = KERNEL.replace(
    "    tl.store", "    while tl.load(x_ptr) < 1e30:\n        p += 1\n    tl.store"
)  # fmt: skip

ANSWERS = {
    "good": (GOOD, Status.CORRECT, "Correct"),
    "wrong result": (GOOD.replace("p / tl.sum", "p * tl.sum"), Status.INCORRECT, "at index"),
    "syntax error": (GOOD.replace("def softmax(x):", "def softmax(x:"), Status.INVALID_ACTION, "line"),
    "empty": ("", Status.INVALID_ACTION, "empty"),
    "white space": (" \n\n\t", Status.INVALID_ACTION, "empty"),
    "null bytes": (GOOD + "\0", Status.INVALID_ACTION, "null"),
    "5 MB of source": (GOOD + "# x\n" * 1_250_000, Status.INVALID_ACTION, "characters"),
    "deep nesting": (GOOD + "y = " + "(" * 3000 + "1" + ")" * 3000, Status.INVALID_ACTION, ""),
    "no kernel": (HEAD + "def softmax(x):\n    return torch.empty_like(x)\n", Status.REJECTED, "jit"),
    "torch computes": (GOOD.replace("return y", "return torch.softmax(x, -1)"), Status.REJECTED, "softmax"),
    "wrong function name": (GOOD.replace("softmax(", "softmin("), Status.COMPILE_ERROR, "'softmax'"),
    "wrong signature": (GOOD.replace("softmax(x)", "softmax(x, axis)"), Status.RUNTIME_ERROR, "axis"),
    "wrong shape": (GOOD.replace("return y", "return y.view(-1)"), Status.INCORRECT, "shape"),
    "wrong dtype": (
        GOOD.replace("torch.empty_like(x)", "torch.empty_like(x, dtype=torch.float64)"),
        Status.INCORRECT,
        "float64",
    ),
    "no tensor": (GOOD.replace("return y", "return None"), Status.INCORRECT, "returned None"),
    "two results": (GOOD.replace("return y", "return y, y"), Status.INCORRECT, "a tuple of 2"),
    "an exception": (GOOD.replace("return y", "raise ValueError('no')"), Status.RUNTIME_ERROR, "no"),
    "an exception beside a tensor": (
        GOOD.replace("    rows,", "    z, k = torch.empty_like(x), unknown\n    rows,"), Status.RUNTIME_ERROR, "unknown"),
    "exception at import": (GOOD + "\nraise ValueError('no')\n", Status.COMPILE_ERROR, "no"),
    "kernel does not compile": (
        GOOD.replace("tl.exp(x", "tl.exp2(x, x"), Status.COMPILE_ERROR, ""),
    "undefined in kernel": (GOOD.replace("p / tl.sum", "q / tl.sum"), Status.COMPILE_ERROR, "q"),
    "out of shared memory or registers": (
        GOOD.replace("BLOCK=triton.next_power_of_2(cols)", "BLOCK=1 << 22"), Status.COMPILE_ERROR, ""),
    "endless loop on the CPU": (
        GOOD.replace("    return y", "    while True:\n        rows += 1\n    return y"),
        Status.TIMEOUT,
        "did not finish",
    ),
    "endless loop at import": (GOOD + "\nwhile True:\n    GOOD = 1\n", Status.TIMEOUT, "did not finish"),
    "endless loop in the kernel": (HEAD + SPIN + HOST, Status.TIMEOUT, "did not finish"),
    "sys.exit": (
        GOOD.replace("return y", "raise SystemExit(0)"), Status.RUNTIME_ERROR, "SystemExit"),
    "memory on the host": (
        GOOD.replace("    rows,", "    z = [0] * (1 << 31)\n    rows,"),
        Status.RUNTIME_ERROR,
        "emory",
    ),
    "a changed argument": (
        GOOD.replace("y = torch.empty_like(x)", "y = x"), Status.INCORRECT, "argument"),
    "prose around": ("Here you are:\n" + GOOD, Status.INVALID_ACTION, "SyntaxError"),
    "a block for small rows alone": (
        GOOD.replace("BLOCK=triton.next_power_of_2(cols)", "BLOCK=1024"), Status.INCORRECT, "result"),
    "a grid beyond the limits": (
        GOOD.replace("kernel[(rows,)]", "kernel[(1, 1 << 17)]"), Status.RUNTIME_ERROR, "grid"),
    "an integer 1 is a constant": (
        GOOD.replace("cols, BLOCK: tl", "cols, one, BLOCK: tl").replace("y, cols, B", "y, cols, 1, B")
        .replace("    tl.store", "    if not hasattr(one, 'shape'):\n        p = p + 1\n    tl.store"),
        Status.INCORRECT, "at index"),
    "memory that nothing wrote": (
        GOOD.replace("tl.exp(x -", "tl.exp(tl.load(y_ptr + lane, mask=mask, other=0.0) + x -"),
        Status.INCORRECT, "at index"),
    "three rows left out": (
        GOOD.replace("    lane =", "    if (row % 1500 == 7) & (tl.num_programs(0) > 2000):\n"
                     "        return\n    lane ="), Status.INCORRECT, "result"),
    "a result remembered by its shape": (
        GOOD.replace("def softmax(x):", "SEEN = {}\ndef softmax(x):\n    if x.shape in SEEN:\n"
                     "        return SEEN[x.shape]").replace("    return y", "    SEEN[x.shape] = y\n    return y"),
        Status.INCORRECT, ""),
    "nothing stored": (GOOD.replace("    tl.store", "    if row < 0:\n        tl.store"), Status.INCORRECT, "wrong"),
}  # fmt: skip
LIMIT_S = 20.0


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_ends_in_its_status(name, any_evaluator):
    source, status, told = ANSWERS[name]
    if name == "a changed argument" and any_evaluator.device.kind == "cuda":
        status = Status.RUNTIME_ERROR  # arguments cannot be written to there
    task = triton_gym.load("softmax")
    started = time.monotonic()
    seconds = 6.0 if status is Status.TIMEOUT else LIMIT_S
    outcome = any_evaluator.evaluate(task, source, seed=1, limits=Limits(seconds=seconds))
    assert time.monotonic() - started < seconds + 15  # others may have the GPU
    assert (outcome.status, told) == (status, told if told in outcome.message else outcome.message)
    assert outcome.message
    assert len(outcome.message) <= 4000


def test_out_of_bounds(any_evaluator):
    task = triton_gym.load("softmax")
    far = GOOD.replace(
        "x_ptr + row * cols + lane, mask=mask, other",
        "x_ptr + (row + 1).to(tl.int64) * 4000000007 * 16 + lane, mask=mask, other",
    )
    outcome = any_evaluator.evaluate(task, far, seed=1, limits=Limits(seconds=LIMIT_S))
    assert outcome.status is Status.RUNTIME_ERROR
    assert "bounds" in outcome.message or "outside its tensors" in outcome.message
    assert any_evaluator.evaluate(task, GOOD, seed=2).correct


def test_ten_megabytes_of_output_do_no_harm(any_evaluator):
    flood = GOOD.replace(
        "    rows,", "    for i in range(100):\n        print('x' * 100000)\n    rows,"
    )
    outcome = any_evaluator.evaluate(triton_gym.load("softmax"), flood, seed=1)
    assert outcome.correct, outcome.message


@pytest.mark.gpu
def test_memory_on_the_device(gpu_evaluator):
    task = triton_gym.load("softmax")
    hog = GOOD.replace(
        "    rows,", "    z = [torch.empty(1 << 33, device=x.device) for i in range(64)]\n    rows,"
    )
    outcome = gpu_evaluator.evaluate(task, hog, limits=Limits(seconds=LIMIT_S))
    assert outcome.status is Status.RUNTIME_ERROR
    assert "memory" in outcome.message
    assert gpu_evaluator.evaluate(task, GOOD).correct


NOISE = """
import torch
x = torch.randn(4096, 4096, device="cuda")
print(flush=True)
while True:
    for _ in range(100):
        y = torch.exp(x)
    torch.cuda.synchronize()
"""


@pytest.mark.gpu
def test_honest_answers_on_a_gpu_that_was_never_quiet():
    """As where a policy is trained: the judge's clock runs on while others compute."""
    noise = subprocess.Popen([sys.executable, "-c", NOISE], stdout=subprocess.PIPE)
    try:
        noise.stdout.readline()
        with Evaluator("cuda:0", workers=2) as evaluator:
            for name in ("softmax", "gelu", "matmul"):
                task = triton_gym.load(name)
                outcome = evaluator.evaluate(task, task.expert, limits=Limits(seconds=LIMIT_S))
                assert outcome.correct, outcome.message
    finally:
        noise.kill()
        noise.communicate()


@pytest.mark.gpu
def test_honest_answers_beside_one_that_hangs_on_the_gpu():
    """Who is to be timed waits for it, and who comes later for them: longer than each may take."""
    task = triton_gym.load("softmax")
    with Evaluator("cuda:0", workers=4) as evaluator:
        assert evaluator.evaluate(task, GOOD).correct  # so that the task is known
        hanging = evaluator.submit(task, HEAD + SPIN + HOST, limits=Limits(seconds=12.0))
        time.sleep(3.0)
        honest = [
            evaluator.submit(task, f"{GOOD}# {i}\n", limits=Limits(seconds=6.0)) for i in range(3)
        ]
        outcomes = [future.result() for future in honest]
        assert [o.correct for o in outcomes] == [True] * 3, [o.message for o in outcomes]
        assert hanging.result().status is Status.TIMEOUT


def test_a_crash_is_an_outcome(evaluator):
    # The screen keeps ctypes out, so the crash is made where an answer's code runs.
    from triton_gym.device import gpu_named
    from triton_gym.evaluation.backends.simulated.facts import facts_of
    from triton_gym.evaluation.plan.messages import EntryKind, Load
    from triton_gym.evaluation.recording.session import RecorderSession
    from triton_gym.evaluation.workers.sandbox import Limits as SandboxLimits
    from triton_gym.evaluation.workers.scratch import Scratch
    from triton_gym.evaluation.workers.session import Ended, Session
    from triton_gym.evaluation.workers.worker_pool import WorkerPool

    gpu, kind = facts_of(gpu_named("h100")), EntryKind.FUNCTION
    pool = WorkerPool("record")
    try:
        for code, told in [
            ("import ctypes\nctypes.string_at(0)\n", "SIGSEGV"),
            ("import os\nos.abort()\n", "SIGABRT"),
            ("import os\nos._exit(3)\n", "exit code 3"),
            ("import os\nos.kill(os.getpid(), 9)\n", "SIGKILL"),
        ]:
            with (
                Scratch(code) as scratch,
                Session(pool, SandboxLimits(seconds=20), scratch) as worker,
            ):
                recorder = RecorderSession(worker, None)
                load = Load(worker.path, code, "f", kind, gpu, 0, recorder.blobs.size)
                with pytest.raises(Ended, match=told) as caught:
                    recorder.load(load)
                recorder.close()
            assert caught.value.status is Status.RUNTIME_ERROR
    finally:
        pool.close()


FOREIGN = {
    "arithmetic on tensors": "y = y + 0 * x",
    "in place": "y *= 2",
    "indexing computes": "y = y[[0] * rows] if rows < 0 else -y",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_compute_is_refused(name, any_evaluator):
    source = GOOD.replace("    return y", f"    {FOREIGN[name]}\n    return y")
    outcome = any_evaluator.evaluate(triton_gym.load("softmax"), source, seed=1)
    assert outcome.status is Status.REJECTED
    assert "PyTorch was to compute" in outcome.message
    assert FOREIGN[name] in outcome.message, "the line is told"


def test_what_no_result_depends_on_is_nobodys_business(any_evaluator):
    unused = "z = y + 0 * x\n    y = y if (x > 0) is None else y"
    source = GOOD.replace("    return y", f"    {unused}\n    return y")
    outcome = any_evaluator.evaluate(triton_gym.load("softmax"), source, seed=1)
    assert outcome.status is Status.CORRECT, outcome.message


@pytest.mark.parametrize(
    "product", ["torch.matmul(a, b)", "torch.stack([torch.mv(b.mT, row) for row in a])"]
)
def test_a_large_product_of_pytorchs_is_refused_and_not_computed(product, any_evaluator):
    """It would take minutes where there is no GPU, and what came of it would be a timeout."""
    task = triton_gym.load("matmul")
    body = task.starter.rindex("    return ")
    source = f"{task.starter[:body]}    return {product}\n"
    outcome = any_evaluator.evaluate(task, source, seed=1, limits=Limits(seconds=LIMIT_S))
    assert outcome.status is Status.REJECTED, outcome.message


@pytest.mark.parametrize(
    "extra",
    [
        "x = x.contiguous()",
        "x = x.view(rows, 1, cols).squeeze(1)",
        "z = torch.zeros(rows, device=x.device)",
        "y = x.new_empty((rows, cols))",
        "y = torch.empty((rows, cols), dtype=x.dtype, device=x.device)",
        "x = x.t().t()",
        "assert x.is_contiguous() and x.dim() == 2",
    ],
)
def test_ordinary_host_code_is_not(extra, any_evaluator):
    source = GOOD.replace("    kernel[", f"    {extra}\n    kernel[")
    outcome = any_evaluator.evaluate(triton_gym.load("softmax"), source, seed=1)
    assert outcome.correct, outcome.message


def test_rows_longer_than_the_timed_ones_count(any_evaluator):
    """An answer that only reads as many columns as are timed is wrong on each device and seed."""
    short = GOOD.replace("triton.next_power_of_2(cols)", "4096")
    assert short != GOOD
    for seed in range(3):
        outcome = any_evaluator.evaluate(triton_gym.load("softmax"), short, seed=seed)
        assert outcome.status is Status.INCORRECT, outcome.message


GELU = (
    HEAD
    + """
@triton.jit
def gelu_kernel(x_ptr, y_ptr, rows, cols, down, right, BR: tl.constexpr, BC: tl.constexpr):
    r = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = (r < rows)[:, None] & (c < cols)[None, :]
    x = tl.load(x_ptr + r[:, None] * cols + c[None, :], mask=mask, other=0.0).to(tl.float32)
    y = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    tl.store(y_ptr + r[:, None] * down + c[None, :] * right, y, mask=mask)


def gelu(x):
    rows, cols = x.shape
    y = torch.empty((rows, cols), device=x.device, dtype=x.dtype)
    grid = (triton.cdiv(rows, 32), triton.cdiv(cols, 32))
    gelu_kernel[grid](x, y, rows, cols, y.stride(0), y.stride(1), BR=32, BC=32)
    return y
"""
)


def undisturbed(evaluator, task, source):
    """Its outcome, again where other programs, as other tests, used the GPU all the while."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        outcome = evaluator.evaluate(task, source)
        if "Other programs used the GPU" not in outcome.message:
            return outcome
    pytest.fail(f"The GPU was never quiet. {outcome.message}")


def test_what_pytorch_moves_for_an_answer_is_part_of_its_time(any_evaluator):
    evaluated = partial(undisturbed, any_evaluator, triton_gym.load("gelu"))
    whole = evaluated(GELU)
    lazy = GELU.replace("torch.empty((rows, cols), ", "torch.empty((cols, rows), ").replace(
        "dtype=x.dtype)", "dtype=x.dtype).t()"
    )
    view = evaluated(lazy)
    copied = evaluated(lazy.replace("return y", "return y.contiguous()"))
    filled = evaluated(GELU.replace("torch.empty(", "torch.zeros("))
    for outcome in (whole, view, copied, filled):
        assert outcome.correct, outcome.message
    # 134 MB are read and written once more, or written.
    least_us = 134e6 / 5e6
    assert whole.coverage == 1
    assert filled.coverage < 1
    assert min(view.runtime_us, copied.runtime_us) > whole.runtime_us + 2 * least_us
    assert filled.runtime_us > whole.runtime_us + least_us
    for outcome in (view, copied):
        assert outcome.coverage < 1 - least_us / outcome.runtime_us


TUNED = (
    HEAD
    + """
@triton.autotune([CONFIGS], key=["n"])
@triton.jit
def gelu_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    tl.store(y_ptr + i, 0.5 * x * (1 + tl.erf(x * 0.7071067811865476)), mask=i < n)


def gelu(x):
    y = torch.empty_like(x)
    n = x.numel()
    gelu_kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](x, y, n)
    return y
"""
)


def test_the_better_configuration_is_found(any_evaluator):
    evaluated = partial(undisturbed, any_evaluator, triton_gym.load("gelu"))
    slow, fast = (f'triton.Config({{"BLOCK": {block}}}, num_warps=1)' for block in (32, 1024))
    outcomes = [evaluated(TUNED.replace("CONFIGS", c)) for c in (slow, fast, f"{slow}, {fast}")]
    for outcome in outcomes:
        assert outcome.correct, outcome.message
    slow_us, fast_us, tuned_us = (outcome.runtime_us for outcome in outcomes)
    assert tuned_us - fast_us < (slow_us - fast_us) / 4
