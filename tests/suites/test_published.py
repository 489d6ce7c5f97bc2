"""TritonBench-G: published Triton kernels as references, emulated where there is no GPU."""

from __future__ import annotations

import json

import pytest
import torch

from triton_gym import InvalidTaskError, suites
from triton_gym.evaluation import check
from triton_gym.suites.eager_triton import emulated, ends_only, hosted
from triton_gym.suites.published import PublishedFile
from triton_gym.suites.tritonbench_g import entries

LINE = "#" * 80
KERNEL = """
import torch
import triton
import triton.language as tl

@triton.jit
def scaled_kernel(x_ptr, out_ptr, n, factor, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    x = tl.load(x_ptr + offsets, mask=inside, other=0.0)
    kept = x
    x *= factor
    tl.store(out_ptr + offsets, (kept + x).to(out_ptr.dtype.element_ty), mask=inside)

def scaled(x, factor=2.0):
    assert x.is_cuda and x.dtype in (torch.float16, torch.float32)
    out = torch.empty_like(x)
    scaled_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](
        x, out, x.numel(), factor, BLOCK=128, num_warps=4
    )
    return out
"""
PRODUCT = """
import torch
import triton
import triton.language as tl

@triton.autotune(configs=[triton.Config({"BLOCK": 16})], key=["m"])
@triton.jit
def product_kernel(a_ptr, b_ptr, c_ptr, m, n, k, BLOCK: tl.constexpr):
    row, column = tl.program_id(0), tl.program_id(1)
    a = tl.make_block_ptr(a_ptr, (m, k), (k, 1), (row * BLOCK, 0), (BLOCK, BLOCK), (1, 0))
    b = tl.make_block_ptr(b_ptr, (k, n), (n, 1), (0, column * BLOCK), (BLOCK, BLOCK), (1, 0))
    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, k, BLOCK):
        left = tl.load(a, boundary_check=(0, 1), padding_option="zero")
        right = tl.load(b, boundary_check=(0, 1), padding_option="zero")
        total += tl.dot(left, right)
        a = tl.advance(a, (0, BLOCK))
        b = tl.advance(b, (BLOCK, 0))
    c = tl.make_block_ptr(c_ptr, (m, n), (n, 1), (row * BLOCK, column * BLOCK), (BLOCK, BLOCK), (1, 0))
    tl.store(c, total.to(c_ptr.dtype.element_ty), boundary_check=(0, 1))

def product_into(a, b, c):
    (m, k), n = a.shape, b.shape[1]
    product_kernel[lambda meta: (triton.cdiv(m, meta["BLOCK"]), triton.cdiv(n, meta["BLOCK"]))](
        a, b, c, m, n, k
    )
"""
ATOMIC = """
import torch
import triton
import triton.language as tl

@triton.jit
def count_kernel(x_ptr, out_ptr, n, BINS: tl.constexpr):
    for i in range(n):
        tl.atomic_add(out_ptr + tl.load(x_ptr + i) % BINS, 1)

def count(x):
    out = torch.zeros(4, dtype=torch.int32, device="cuda")
    count_kernel[(1,)](x, out, x.numel(), BINS=4)
    return out
"""
FUNCTIONS = """
class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        return scaled(x, factor)

apply_scaled = Scaled.apply

def later(x):
    return apply_scaled(x, 3.0)
"""
MODULE = """
class Layer(torch.nn.Module):
    def __init__(self, weight, factor=2.0):
        super().__init__()
        self.weight, self.factor = weight, factor

    def forward(self, x):
        return scaled(x * self.weight, self.factor)
"""
CONFIGURED = """
class Config:
    def __init__(self, factor):
        self.factor = factor

class Buffer:
    def __init__(self, base):
        self._base, self.dtype = base, base.dtype

    def data_ptr(self):
        return self._base.data_ptr()

def configured(x, config):
    return scaled(x, config.factor) if isinstance(x, torch.Tensor) else None
"""
# A tuple of one, a number with a further axis, and `min` of what is not known before it runs.
OLDER = """
import torch
import triton
import triton.language as tl

@triton.jit
def older_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    width = min(cols - row % 2, BLOCK)
    inside = (tl.arange(0, BLOCK) < width) & (row < rows)[:, None]
    pointers = (x_ptr + row * cols + tl.arange(0, BLOCK),)
    x = tl.load(pointers, mask=inside, other=0.0)
    tl.store(out_ptr + row * cols + tl.arange(0, BLOCK), max(x, 0.0) * 2.0, mask=inside)

def older(x):
    out = torch.zeros_like(x)
    older_kernel[(x.shape[0],)](x, out, *x.shape, BLOCK=64)
    return out
"""
PROBLEMS = {
    "scaled": (KERNEL, "import torch\nfor n in (100, 300):\n    x = torch.randn(n, device='cuda')"
               "\n    print(scaled(x), scaled(x.half(), 3.0))"),
    "product": (PRODUCT, "import torch\ndef test():\n    a = torch.randn(20, 40, device='cuda')\n"
                "    b = torch.randn(40, 24, device='cuda')\n    c = torch.empty(20, 24, device='cuda')"
                "\n    product_into(a, b, c)\n    return c"),
    "count": (ATOMIC, "import torch\ncount(torch.randint(0, 9, (50,), device='cuda'))"),
    "wrong_call": (KERNEL.replace("mask=inside)", "mask=offsets < 128)"),
                   "import torch\nfor n in (3, 256, 128):\n    scaled(torch.randn(n).cuda())"),
    "asked": (KERNEL.replace("x *= factor", "x *= 5.0 if x.dtype.is_fp16() else factor").replace(
                  "def scaled(x, factor=2.0):", "def asked(norm, x, device):\n    factor = norm.weight")
              .replace("assert x.is_cuda and", "assert 'cuda' in str(x.device) and")
              .replace("torch.empty_like(x)", "torch.empty(x.shape, device=device)")
              .replace("x.numel(), factor,", "x.numel(), 4.0,").replace("(\n        x,", "(\n        x * factor,"),
              "import torch\nx = torch.randn(5, 64).cuda()\nasked(torch.nn.LayerNorm(64), x, x.device)"),
    "draws": (KERNEL + "\ndef draws(n, factor):\n    x = torch.randn(n, device='cuda').half()\n"
              "    return scaled(x, factor) + torch.rand_like(x)\n",
              "draws(100, 3.0)\ndraws(300, factor=2.0)"),
    "undefined": (PRODUCT.replace("total.to(c_ptr", "(total / (k - 40)).to(c_ptr"),
                  "def test():\n    for k in (40, 41):\n        a, b = torch.randn(8, k), torch.randn(k, 8)"
                  "\n        product_into(a.cuda(), b.cuda(), torch.zeros(8, 8).cuda())\n"
                  "    a, b = torch.zeros(8, 40).cuda(), torch.zeros(40, 8).cuda()\n"
                  "    product_into(a, b, torch.zeros(8, 8).cuda())"),
    "classes": (KERNEL + FUNCTIONS, "import torch\nlater(torch.randn(64).cuda())\n"
                "Scaled.forward(None, torch.randn(96).cuda(), 3.0)"),
    "kernel_alone": (PRODUCT, "import torch\nx = torch.randn(8, 8).cuda()\n"
                     "product_kernel[(1, 1)](x, x, x, 8, 8, 8)"),
    "kernel_launched": (ATOMIC, "import torch\nx = torch.randint(0, 9, (50,), device='cuda')\n"
                        "out = torch.zeros(4, dtype=torch.int32, device='cuda')\n"
                        "count_kernel[lambda meta: (meta['BINS'] // 4,)](x, out, 50, BINS=4)"),
    "keeps_to_itself": (ATOMIC.replace("    return out", "    print(out)"),
                        "import torch\ncount(torch.randint(0, 9, (50,), device='cuda'))"),
    "built": (KERNEL + MODULE, "import torch\nlayer = Layer(torch.ones(64).cuda(), factor=3.0)\n"
              "layer(torch.randn(5, 64).cuda())"),
    "configured": (KERNEL + CONFIGURED, "import torch\nx = torch.randn(96).cuda()\n"
                   "configured(Buffer(x), Config(2.0))\nconfigured(x, Config(factor=3.0))"),
    "large": (KERNEL, "import torch\ndef test(rows=4096, cols=512):\n"
              "    scaled(torch.randn(rows, cols, device='cuda'))\ntest()"),
    "special": (KERNEL, "import torch\nscaled(torch.tensor([1., 2., 3., float('inf'), float('nan'),"
                " 4., -2., 0.5]).cuda())"),
    "older": (OLDER, "import torch\nolder(torch.randn(40, 48).cuda())"),
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "data" / "TritonBench_G_v1"
    folder.mkdir(parents=True)
    for name, (source, tests) in PROBLEMS.items():
        (folder / f"{name}.py").write_text(f"{source}\n{LINE}\n{tests}\n")
    told = [{"file": "scaled.py", "comp_instru": "Adds {factor} times x to x."}]
    (root / "data" / "TritonBench_G_v1.json").write_text(json.dumps(told))
    return suites.load("tritonbench-g", root)


def test_a_published_kernel_is_a_reference_and_an_oracle(suite):
    task = suite.problem("scaled").task()
    assert task.entry.parameters == ("x", "factor")
    assert "Adds {factor} times x" in task.statement
    assert "tl.load" not in task.statement
    assert len({case["call"] for case in (*task.tiny, *task.bench)}) == 4
    for case in task.tiny:
        x, factor = check.draw_inputs(task, case, 3, torch.device("cpu"))
        expected = check.expect(task, case, (x, factor))
        torch.testing.assert_close(expected.outputs[0], x.double() * (1 + factor))
        assert check.compare([x * (1 + factor)], expected, str(case)).ok
        assert not check.compare([x * factor], expected, str(case)).ok


def test_what_a_kernel_writes_to_an_argument_is_what_an_answer_returns(suite):
    task = suite.problem("product").task()
    (case,) = task.tiny
    a, b, c = check.draw_inputs(task, case, 3, torch.device("cpu"))
    before = c.clone()
    torch.testing.assert_close(task.reference(a, b, c), a @ b, rtol=1e-5, atol=1e-5)
    assert torch.equal(c, before), "the reference leaves its arguments alone"
    assert "must not change an argument" in task.statement


def test_atomics_run_one_after_the_other(suite):
    task = suite.problem("count").task()
    (x,) = check.draw_inputs(task, task.tiny[0], 3, torch.device("cpu"))
    assert task.reference(x).tolist() == torch.bincount(x % 4, minlength=4).tolist()


def test_a_published_call_that_is_wrong_does_not_cost_the_others(suite):
    """Its smallest call writes beyond its result."""
    task = suite.problem("wrong_call").task()
    assert {case["call"] for case in (*task.tiny, *task.bench)} == {2, 3}
    assert "writes to memory outside" in "".join(task.notes)


def test_modules_devices_and_dtypes_that_are_asked(suite):
    task = suite.problem("asked").task()
    assert task.entry.parameters == ("norm", "x", "device")
    norm, x, device = check.draw_inputs(task, task.tiny[0], 3, torch.device("cpu"))
    assert (norm["module"].partition("(")[0], device) == ("LayerNorm", "cuda:0")
    torch.testing.assert_close(task.reference(norm, x, device), x * norm["weight"] * 5.0)


def test_what_a_published_function_draws_is_given(suite):
    task = suite.problem("draws").task()
    assert task.entry.parameters == ("n", "factor", "drawn0", "drawn1")
    assert "draws `drawn0` and `drawn1` at random; here they are given" in task.statement
    case = task.tiny[0]
    n, factor, x, y = given = check.draw_inputs(task, case, 3, torch.device("cpu"))
    assert x.shape == (n,)
    expected = check.expect(task, case, given)
    assert check.compare([x.half() * (1 + factor) + y], expected, str(case)).ok
    assert not check.compare([x.half() * factor + y], expected, str(case)).ok


def test_what_is_written_is_seen_though_it_is_not_a_number(suite):
    """Two of its three calls divide by zero, the smallest ones among them."""
    task = suite.problem("undefined").task()
    assert "writes to `c`" in task.statement


def test_classes_of_autograd_are_found_by_their_names_and_by_forward(suite):
    source, tests = PROBLEMS["classes"]
    assert set(entries(source, tests)) == {"later", "Scaled"}
    (_, alone) = tests.rsplit("\n", 1)
    form = PublishedFile(source, alone, "classes.py", "Scaled")
    (call,) = form.calls(1, torch.device("cpu"))
    assert (call["x"].shape, call["factor"]) == ((96,), 3.0)
    assert suite.problem("classes").task().entry.name == "later"


def test_what_cannot_be_called_is_told(suite):
    with pytest.raises(InvalidTaskError, match="a kernel whose blocks are tuned"):
        suite.problem("kernel_alone").task()


@pytest.mark.parametrize("name", ["kernel_launched", "keeps_to_itself"])
def test_a_kernel_is_the_problem_where_no_function_hands_its_result_out(suite, name, capsys):
    task = suite.problem(name).task()
    assert task.entry.name == "count_kernel"
    assert task.entry.parameters == ("x_ptr", "out_ptr", "n", "BINS", "grid")
    assert "how many programs" in task.statement
    x, out, n, bins, grid = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    assert (n, bins, grid) == (50, 4, (1,))
    found = task.reference(x, out, n, bins, grid)
    assert torch.equal(found - out, torch.bincount(x % 4, minlength=4).int())
    assert not capsys.readouterr().out


def test_a_module_that_tests_build_is_a_function_of_both_calls(suite):
    task = suite.problem("built").task()
    assert task.entry.parameters == ("weight", "factor", "x")
    weight, factor, x = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    torch.testing.assert_close(task.reference(weight, factor, x), x * weight * (1 + factor))


def test_objects_are_given_as_what_they_hold_and_memory_of_its_own_is_left_out(suite):
    task = suite.problem("configured").task()
    assert [case["call"] for case in task.tiny] == [1]
    assert "the name of its class under `'class'`" in task.statement
    x, config = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    assert config == {"class": "Config", "factor": 3.0}
    torch.testing.assert_close(task.reference(x, config), 4 * x)


def test_large_tests_have_smaller_shapes_and_are_timed_at_their_own(suite):
    task = suite.problem("large").task()
    (small,) = task.tiny
    (x, *_) = check.draw_inputs(task, small, 1, torch.device("cpu"))
    assert x.numel() <= 1 << 15
    (x, *_) = check.draw_inputs(task, task.bench[0], 1, torch.device("cpu"))
    assert x.shape == (4096, 512)
    assert any("halved" in note for note in task.notes)


def test_what_is_no_number_changes_places_where_numbers_are_drawn_anew(suite):
    task = suite.problem("special").task()
    drawn = [check.draw_inputs(task, task.tiny[0], s, torch.device("cpu"))[0] for s in range(8)]
    assert all(int(x.isnan().sum()) == 1 and int(x.isinf().sum()) == 1 for x in drawn)
    assert len({int(x.isnan().nonzero()) for x in drawn}) > 2
    assert all(float(x[x.isfinite()].min()) >= -2 for x in drawn)


def test_what_older_versions_of_triton_take(suite):
    task = suite.problem("older").task()
    (x,) = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    wide = (torch.arange(48) < 48 - torch.arange(40)[:, None] % 2) * x.clamp(min=0) * 2
    torch.testing.assert_close(task.reference(x), wide)


READING = """
import torch
import triton
import triton.language as tl

@triton.jit
def beyond_kernel(x_ptr, out_ptr, n, far, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets)
    tl.store(out_ptr + offsets + far, x, mask=offsets < n)
"""


def test_memory_outside_is_nan_to_read_and_an_error_to_write():
    scope = emulated(READING, "reading.py")
    x, out = torch.arange(5.0), torch.zeros(8)
    with hosted():
        scope["beyond_kernel"][(1,)](x, out, 8, 0, BLOCK=8)
        assert out[:5].tolist() == x.tolist()
        assert out[5:].isnan().all()
        with pytest.raises(RuntimeError, match="writes to memory outside"):
            scope["beyond_kernel"][(1,)](x, out, 8, 4, BLOCK=8)


def test_of_a_large_grid_the_ends_show_what_is_written():
    scope = emulated(KERNEL, "kernel.py")
    x, out = torch.ones(128 * 100), torch.zeros(128 * 100)
    with hosted(), ends_only():
        scope["scaled_kernel"][(100,)](x, out, x.numel(), 2.0, BLOCK=128)
    assert out.reshape(100, 128).any(1).nonzero().flatten().tolist() == [
        *range(32),
        *range(68, 100),
    ]


def test_random_numbers_are_those_of_the_published_generator():
    from triton_gym.suites.eager_triton import language

    # Random123's known answers for Philox 4x32-10 with counter and key of zeros, and of ones.
    zero = torch.zeros((), dtype=torch.int64)
    found = [int(x) for x in language.philox(0, zero, zero, zero, zero)]
    assert found == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
