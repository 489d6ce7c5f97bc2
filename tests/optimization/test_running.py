"""Answers loaded into this process, which compile only where nobody waits."""

from __future__ import annotations

import threading

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from triton_gym.optimization.running import NotCompiledError, _read_only, compiling, load

SOURCE = """
import torch
import triton
import triton.language as tl


@triton.autotune([triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 128})], key=["n"])
@triton.jit
def _copy(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)


def copied(x):
    y = torch.empty_like(x)
    _copy[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
    return y
"""


def test_what_the_disk_holds_is_loaded_and_nothing_else_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    loaded = load(SOURCE, "copied", tmp_path)
    kernel = loaded.kernels["_copy"].fn
    described = _read_only(ASTSource)(
        kernel, {"x": "*fp32", "y": "*fp32", "n": "i32", "BLOCK": "constexpr"}, {(3,): 64}
    )
    target = GPUTarget("cuda", 90, 32)
    with pytest.raises(NotCompiledError):
        triton.compile(described, target=target)
    with compiling():
        made = triton.compile(described, target=target)
    again = triton.compile(described, target=target)
    assert again.asm["cubin"] == made.asm["cubin"]


def test_what_is_compiled_lies_in_one_place_whatever_torch_compile_sets(tmp_path, monkeypatch):
    """Inductor sets TRITON_CACHE_DIR in a process where it compiles a kernel."""
    places, waited = [], []

    def compiles(self):
        places.append(triton.knobs.cache.dir)
        if len(places) == 1:  # a caller meanwhile, in another thread
            other = threading.Thread(target=called)
            other.start()
            other.join()

    def called():
        with pytest.raises(NotCompiledError, match="another kernel"):
            kernel._do_compile()
        waited.append(False)

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "_do_compile", compiles)
    kernel = load(SOURCE, "copied", tmp_path, tmp_path / "compiled").kernels["_copy"].fn
    kernel.ASTSource = ASTSource  # as after the first launch
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "elsewhere"))
    with compiling():
        kernel._do_compile()
    kernel._do_compile()
    assert places == [str(tmp_path / "compiled")] * 2
    assert waited == [False]
    assert triton.knobs.cache.dir == str(tmp_path / "elsewhere")  # of all others


def test_one_assembler_is_used_whatever_torch_compile_sets(tmp_path, monkeypatch):
    """Inductor sets TRITON_PTXAS_PATH, and later processes inherit it: kernels that one of them
    compiled were not found by those that had asked for the version before."""
    from triton.backends.nvidia import compiler

    old = 75  # newer GPUs have an assembler of another name in some versions

    def key(self):
        return compiler.get_ptxas_version(old), compiler.get_ptxas(old).path

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "_do_compile", key)
    kernel = load(SOURCE, "copied", tmp_path, tmp_path / "compiled").kernels["_copy"].fn
    kernel.ASTSource = ASTSource
    with compiling():
        before = kernel._do_compile()
        fake = tmp_path / "torch" / "bin" / "ptxas"
        fake.parent.mkdir(parents=True)
        fake.write_text("#!/bin/sh\necho release 1.1 of PyTorch\n")
        fake.chmod(0o755)
        monkeypatch.setattr(torch, "__file__", str(fake.parent.parent / "__init__.py"))
        monkeypatch.setenv("TRITON_PTXAS_PATH", str(fake))
        compiler.get_ptxas_version.cache_clear()
        assert (
            compiler.get_ptxas_version(old) == "release 1.1 of PyTorch\n"
        )  # what a new process finds
        assert kernel._do_compile() == before
        assert compiler.get_ptxas_version(old) == "release 1.1 of PyTorch\n"  # of all others
        own = tmp_path / "ptxas"  # a user's own choice counts
        own.write_text("#!/bin/sh\necho release 2.2\n")
        own.chmod(0o755)
        monkeypatch.setenv("TRITON_PTXAS_PATH", str(own))
        assert kernel._do_compile()[1] == str(own)
    compiler.get_ptxas_version.cache_clear()


def test_tuners_are_pinned_to_what_they_chose(tmp_path):
    loaded = load(SOURCE, "copied", tmp_path)
    assert loaded.tuned
    loaded.kernels["_copy"].best_config = triton.Config({"BLOCK": 128}, num_warps=8)
    choices = loaded.choices()
    other = load(SOURCE, "copied", tmp_path)
    other.pin(choices)
    assert not other.tuned
    (config,) = other.kernels["_copy"].configs
    assert config.kwargs == {"BLOCK": 128}
    assert config.num_warps == 8


def test_a_module_that_fails_leaves_nothing(tmp_path):
    import sys

    before = set(sys.modules)
    with pytest.raises(ZeroDivisionError):
        load("1 // 0\n", "f", tmp_path)
    with pytest.raises(AttributeError):
        load("x = 1\n", "f", tmp_path)
    assert not {name for name in set(sys.modules) - before if name.startswith("_triton_gym")}
