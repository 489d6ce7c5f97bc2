"""Kernels are compiled from Triton's IR exactly as Triton would, in a process that ran no answer."""

from __future__ import annotations

import os
import signal

import pytest
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.compiler import ArtifactCache, CompileFailure, Compiler
from triton_gym.evaluation.compiling.lower import lower
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.worker_pool import WorkerPool


@triton.jit
def product(a_ptr, b_ptr, c_ptr, size, SIDE: tl.constexpr):
    rows, columns = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
    total = tl.zeros((SIDE, SIDE), dtype=tl.float32)
    for k in range(0, size, SIDE):
        a = tl.load(a_ptr + rows * size + columns + k)
        b = tl.load(b_ptr + (rows + k) * size + columns)
        total = tl.dot(a, b, total)
    tl.device_assert(size > 0, "no size")
    tl.store(c_ptr + rows * size + columns, tl.sqrt(total))


@triton.jit
def described(x, y_ptr, SIDE: tl.constexpr):
    rows, columns = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
    tl.store(y_ptr + rows * SIDE + columns, x.load([0, 0]))


CASES = {
    "product": (
        product,
        {"a_ptr": "*bf16", "b_ptr": "*bf16", "c_ptr": "*fp32", "size": "i32", "SIDE": "constexpr"},
        {(4,): 64}, {"num_warps": 4, "num_stages": 2, "debug": True},
    ),
    "described": (
        described, {"x": "tensordesc<fp16[64,64]>", "y_ptr": "*fp16", "SIDE": "constexpr"},
        {(2,): 64}, {"num_warps": 8},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def compiled(request, tmp_path_factory):
    """What Triton itself makes of a kernel, and how it was asked."""
    function, signature, constants, options = CASES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
        kernel = triton.compile(
            ASTSource(function, signature, constants), GPUTarget("cuda", 90, 32), options
        )
    return kernel, {**options, "enable_fp_fusion": True}


@pytest.fixture(scope="module")
def pool():
    workers = WorkerPool("lower")
    yield workers
    workers.close()


def test_machine_code_is_byte_for_byte_triton_s_own(compiled):
    kernel, options = compiled
    made = lower(kernel.asm["ttir"], options, Target(90, lines=True), 60.0)
    assert made.cubin == kernel.asm["cubin"]
    assert made.texts["ptx"] == kernel.asm["ptx"]
    for name in ("name", "shared", "num_warps", "tensordesc_meta", "global_scratch_size"):
        assert made.metadata[name] == getattr(kernel.metadata, name)


def test_a_kernel_is_compiled_once_and_failures_are_told(compiled, pool):
    kernel, options = compiled
    cache = ArtifactCache()
    with Compiler(pool, Target(90), cache, Limits(seconds=60)) as compiler:
        artifact = compiler.compile(kernel.asm["ttir"], options)
        assert compiler.compile(kernel.asm["ttir"], dict(options)) is artifact
        assert compiler.artifact(artifact.id) is artifact
        assert artifact.metadata["shared"] == kernel.metadata.shared
        assert "ttg.num-warps" in artifact.texts["ttgir"]
        for bad, said in (
            ({"ptx_options": "-O0"}, "ptx_options is not allowed"),
            ({"ir_override": "/tmp/x.ptx"}, "ir_override is not allowed"),
            ({"extern_libs": [["x", "/tmp/x.bc"]]}, "extern_libs is the device's"),
            ({"arch": "sm80"}, "arch is the device's"),
            ({"num_warps": 3}, "power of two"),
            ({"debug": 1}, "True or False"),
        ):
            with pytest.raises(CompileFailure, match=said):
                compiler.compile(kernel.asm["ttir"], {**options, **bad})
        with pytest.raises(CompileFailure, match=r"tt\.stare.* is unknown"):
            compiler.compile(kernel.asm["ttir"].replace("tt.store", "tt.stare"), options)
        with pytest.raises(CompileFailure):  # Triton aborts: the process is lost
            compiler.compile("", options)
        assert compiler.compile(kernel.asm["ttir"], options) is artifact
    with Compiler(pool, Target(90), cache, Limits()) as compiler:
        assert compiler.artifact(artifact.id) is None  # only what this evaluation was given out
        assert compiler.compile(kernel.asm["ttir"], options) is artifact


ASSEMBLY = """
module {
  tt.func public @kernel(%y: !tt.ptr<i32>) {
    %range = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
    %value = tt.elementwise_inline_asm "TEXT" {constraints = "=r,r", packed_element = 1 : i32, pure = false} %range : tensor<128xi32> -> tensor<128xi32>
    %ys = tt.splat %y : !tt.ptr<i32> -> tensor<128x!tt.ptr<i32>>
    %to = tt.addptr %ys, %range : tensor<128x!tt.ptr<i32>>, tensor<128xi32>
    tt.store %to, %value : tensor<128x!tt.ptr<i32>>
    tt.return
  }
}
"""
LOCAL = "{ .local .align 4 .b8 area[64]; ld.volatile.local.b32 $0, [area]; }"


@pytest.mark.parametrize("text", [LOCAL, LOCAL.replace(".local", "\\2Elocal")])
def test_assembly_has_no_local_memory_of_its_own(pool, text):
    with Compiler(pool, Target(90), ArtifactCache(), Limits(seconds=60)) as compiler:
        with pytest.raises(CompileFailure, match="local memory"):
            compiler.compile(ASSEMBLY.replace("TEXT", text), {})
        fine = "{ .reg .b32 t; add.s32 t, $1, 1; mov.b32 $0, t; }"
        assert compiler.compile(ASSEMBLY.replace("TEXT", fine), {}).binary.local_bytes == 0


def test_a_killed_process_is_not_the_kernels_fault(pool, monkeypatch):
    fine = ASSEMBLY.replace("TEXT", "mov.b32 $0, $1;")
    tried = Compiler._tried
    seen = []

    def killed(self, *args):
        session, scratch = self._take()
        if len(seen) < 2:
            os.kill(session._pid, signal.SIGKILL)
        seen.append(session._pid)
        self._give_back(session, scratch)
        return tried(self, *args)

    monkeypatch.setattr(Compiler, "_tried", killed)
    with Compiler(pool, Target(90), ArtifactCache(), Limits(seconds=60)) as compiler:
        assert compiler.compile(fine, {}).binary.registers
        assert len(set(seen)) == len(seen) == 3
        with pytest.raises(CompileFailure, match="crashed"):
            compiler.compile("", {})  # that one crashes it by itself
        assert len(seen) == 4
