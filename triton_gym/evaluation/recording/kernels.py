"""Triton's compiler in a process without a GPU: its front end runs here, the rest elsewhere.

`Toolchain.compile` stands in for `triton.compile`. It turns a kernel into Triton's intermediate
representation and asks for it to be compiled; what host code gets is a `CompiledKernel` whose
machine code is not here. Nobody waits for it, unless host code looks at what only it can
tell, or catches what only it can raise.
"""

from __future__ import annotations

import hashlib
import re
from collections import namedtuple
from typing import Any

import triton
from triton.compiler import CompiledKernel
from triton.compiler.compiler import make_backend
from triton.runtime.errors import OutOfResources, PTXASError

from triton_gym.evaluation.compiling.lower import context_of
from triton_gym.evaluation.plan.messages import (
    Compile,
    Compiled,
    Dialect,
    Option,
    Refusal,
    Uncompiled,
)
from triton_gym.evaluation.plan.step import Kernel
from triton_gym.evaluation.plan.value import Plain
from triton_gym.evaluation.recording import launches
from triton_gym.evaluation.recording.launches import Specialised
from triton_gym.evaluation.recording.recorder import Recorder

_SCRATCH_USERS = ("tensor_descriptor", "global_scratch", "reinterpret_tensor")
"""Operations with which a kernel may need memory that host code allocates for a launch."""


_ENTRY = re.compile(r"tt\.func public @(\w+)\(")


class CompileFailed(Exception):
    """Triton's passes refused a kernel that its front end took."""


class Toolchain:
    """Where a session's kernels are compiled, and what came of them.

    Args:
        recorder: takes launches.
        patient: whether host code may catch what a compilation raises, so that it is waited for.
    """

    def __init__(self, recorder: Recorder, *, patient: bool) -> None:
        self.recorder = recorder
        self.patient = patient
        self.kernels: list[Kernel] = []
        self._artifacts: dict[str, int] = {}

    def compile(self, src: Any, target: Any = None, options: Any = None, **_: Any) -> Any:
        """What `triton.compile` does.

        Raises:
            Exception: what Triton's front end raises.
            OutOfResources, PTXASError, CompileFailed: the rest failed, and was waited for.
        """
        backend = make_backend(target or triton.runtime.driver.active.get_current_target())
        if not hasattr(src, "fn"):
            raise NotImplementedError("Kernels of an intermediate representation are not run here.")
        parsed = backend.parse_options(dict(options or {}, **src.parse_options()))
        _only_triton(backend, parsed)
        text, dialect = _lower(src, backend, parsed)
        source = Specialised(src.fn, src.signature, src.constants, src.attrs, parsed)
        told = tuple(
            Option(name, Plain.of(value)) for name, value in sorted(vars(parsed).items())
            if name not in _NOT_TOLD and (value is None or isinstance(value, (bool, int, str)))
        )  # fmt: skip
        digest = hashlib.sha256(f"{dialect}{text}{told}".encode()).hexdigest()
        if digest not in self._artifacts:
            number = len(self._artifacts)
            self._artifacts[digest] = number
            name = str(src.name)[:200]
            self.recorder.executor.compile(
                Compile(number, name, dialect, text, told, launches.kernel_of(source, 0).line)
            )
        kernel = launches.kernel_of(source, self._artifacts[digest])
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        made = RecordedKernel(self, source, kernel, text, digest, backend)
        made.number = self.kernels.index(kernel)
        made.source_ast = src
        return made


def _only_triton(backend: Any, options: Any) -> None:
    """Raise if a kernel is to be made of anything but its own source.

    Raises:
        NotImplementedError: it is.
    """
    plain = backend.parse_options({})
    for name in ("extern_libs", "ptx_options", "ir_override"):
        given = getattr(options, name, None)
        if given and given != getattr(plain, name, None):
            raise NotImplementedError(f"The option {name} of a kernel is not supported here.")


_NOT_TOLD = frozenset({"extern_libs", "backend_name", "ptx_options", "ir_override"})


def _lower(src: Any, backend: Any, options: Any) -> tuple[str, Dialect]:
    """A kernel in Triton's own representation, or Gluon's."""
    from triton.compiler.compiler import filter_traceback

    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, src.language)
    context = context_of(backend)
    try:
        module = src.make_ir(
            backend.target, options, backend.get_codegen_implementation(options),
            backend.get_module_map(), context,
        )  # fmt: skip
    except Exception as error:
        filter_traceback(error)
        raise
    if "ttir" not in stages:
        return str(module), Dialect.GLUON
    return str(stages["ttir"](module, {})), Dialect.TRITON


class RecordedKernel(CompiledKernel):  # type: ignore[misc]
    """A kernel whose machine code is elsewhere, as host code sees it."""

    def __init__(
        self, toolchain: Toolchain, source: Specialised, kernel: Kernel, text: str, digest: str,
        backend: Any,
    ) -> None:  # fmt: skip
        self._toolchain = toolchain
        self._specialised = source
        self._plan_kernel = kernel
        self._found: Compiled | None = None
        self._text = text
        self._asm: dict[str, Any] | None = None
        self._backend = backend
        self._waits = toolchain.patient or any(user in text for user in _SCRATCH_USERS)
        self._checked = False
        self.source_ast: Any = None
        self.number = 0
        """Which of the session's kernels it is."""
        self.hash = digest
        entry = _ENTRY.search(text)
        self.name = entry[1] if entry else kernel.name
        self.metadata_group: dict[str, str] = {}
        self.kernel = b""
        self.module = None
        self._module_pid = None
        self.function = kernel.artifact
        self._run = None
        options = source.options
        self.packed_metadata = (kernel.num_warps, kernel.num_ctas, 0)
        self._options = dict(vars(options))

    # What host code may look at.

    @property
    def src(self) -> Any:
        """Triton's `ASTSource`."""
        return self.source_ast

    @property
    def found(self) -> Compiled:
        """What came of the compilation, once it is done.

        Raises:
            OutOfResources, PTXASError, CompileFailed: nothing did.
        """
        if self._found is None:
            reply = self._toolchain.recorder.executor.compiled(self._plan_kernel.artifact)
            if isinstance(reply, Uncompiled):
                raise _failure(reply)
            self._found = reply
        return self._found

    @property
    def n_regs(self) -> int:
        """Registers a thread."""
        return self.found.registers

    @property
    def n_spills(self) -> int:
        """Spilled words a thread."""
        return self.found.spills

    @property
    def n_max_threads(self) -> int:
        """Most threads of a block."""
        return self.found.max_threads

    @property
    def metadata(self) -> Any:
        """Options and what the compiler found, as a named tuple."""
        found = self.found
        values = {
            **self._options, "hash": self.hash, "target": self._backend.target, "name": found.name,
            "shared": found.shared_bytes, "num_warps": found.num_warps, "tmem_size": 0,
            "triton_version": triton.__version__, "global_scratch_size": found.global_scratch_bytes,
            "global_scratch_align": found.global_scratch_align, "profile_scratch_size": 0,
            "profile_scratch_align": 1, "tensordesc_meta": [],
            "cluster_dims": (self._plan_kernel.num_ctas, 1, 1),
        }  # fmt: skip
        return namedtuple("KernelMetadata", sorted(values))(**values)

    @property
    def asm(self) -> Any:
        """Intermediate forms by name."""
        if self._asm is None:
            number = self._plan_kernel.artifact
            reply = self._toolchain.recorder.executor.compiled(number, texts=True)
            texts = dict(reply.texts) if isinstance(reply, Compiled) else {}
            self._asm = {"ttir": self._text, "source": self._text, **texts}
        return self._asm

    # What Triton does with it.

    def _init_handles(self) -> None:
        if self._waits and not self._checked:
            _ = self.found
        self._checked = True

    @property
    def run(self) -> Any:
        """The launcher, as `JITFunction.run` calls it."""
        self._init_handles()
        return self._launch

    def _launch(
        self, x: int, y: int, z: int, stream: Any, function: Any, packed: Any, metadata: Any,
        enter: Any, leave: Any, *values: Any,
    ) -> None:  # fmt: skip
        if enter is not None:
            enter(metadata)
        recorder = self._toolchain.recorder
        scratch, held = self._scratch(max(x, 0) * max(y, 0) * max(z, 0), stream)
        step = launches.launch(
            recorder, self._plan_kernel, self.number, self._specialised,
            (x, y, z), values, scratch,
        )  # fmt: skip
        if step is not None:
            recorder.executor.launch(step, self._plan_kernel)
            recorder.passed()
        del held
        if leave is not None:
            leave(metadata)

    def _scratch(self, programs: int, stream: Any) -> tuple[int, Any]:
        """The address of memory that the kernel needs for a launch, and what holds it."""
        if not self._waits or not self.found.global_scratch_bytes or not programs:
            return 0, None
        from triton.runtime import _allocation

        found = self.found
        size = programs * self._plan_kernel.num_ctas * found.global_scratch_bytes
        memory = _allocation._allocator.get()(size, found.global_scratch_align, stream)
        recorder = self._toolchain.recorder
        lies = recorder.at(memory.data_ptr())
        if lies is None:
            raise ValueError("Triton's allocator returned memory that is not on the device.")
        recorder.use(lies, "a kernel")
        lies.forget()
        return int(memory.data_ptr()), memory

    def __del__(self) -> None:
        """There is no module to unload."""


def _failure(reply: Uncompiled) -> Exception:
    if reply.reason is Refusal.RESOURCES:
        exceeded: Exception = OutOfResources(reply.required, reply.limit, reply.resource)
        return exceeded
    if reply.reason is Refusal.ASSEMBLER:
        refused: Exception = PTXASError(reply.message)
        return refused
    return CompileFailed(reply.message)
