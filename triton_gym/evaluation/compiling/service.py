"""Serves one recorder's compile requests: kernels compile beside the recording, each once."""

from __future__ import annotations

from concurrent.futures import Executor, Future

from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.compiling.compiler import CompileFailure, Compiler
from triton_gym.evaluation.compiling.diagnostics import diagnostics
from triton_gym.evaluation.plan.codec import Malformed
from triton_gym.evaluation.plan.messages import Compile, Compiled, Refusal, Uncompiled
from triton_gym.evaluation.plan.value import Plain, PlainKind
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

MOST_THREADS = 1024
MESSAGE_LIMIT = 1800
"""Longest message of a failure: it quotes the kernel, and ends with the cause."""


class CompileService:
    """Compiles for one recorder.

    Args:
        compiler: of the evaluation.
        pool: runs compilations; each waits for a process.
        shared_limit: most bytes of shared memory of a program on the device.
    """

    def __init__(self, compiler: Compiler, pool: Executor, shared_limit: int) -> None:
        self._compiler, self._pool, self._shared_limit = compiler, pool, shared_limit
        self._begun: dict[int, tuple[Compile, Future[Artifact]]] = {}

    def compile(self, request: Compile) -> None:
        """Begin to compile a kernel; does not wait.

        Raises:
            Ended: it has an option that is none.
        """
        try:
            options = {option.name: _option(option.value) for option in request.options}
        except Malformed as error:
            raise Ended(Status.COMPILE_ERROR, f"{request.name}: {error}") from None
        future = self._pool.submit(
            self._compiler.compile, request.text, options, str(request.dialect)
        )
        self._begun[request.artifact] = request, future

    def compiled(self, artifact: int, *, texts: bool) -> Compiled | Uncompiled:
        """Wait for what came of a kernel, as its host code is told."""
        try:
            made = self._begun[artifact][1].result()
        except CompileFailure as failure:
            reason = Refusal.ASSEMBLER if failure.kind == "PTXASError" else Refusal.COMPILER
            return Uncompiled(reason, str(failure)[-8000:])
        refused = self._too_large(made)
        if refused:
            return refused
        told = tuple(made.texts.items()) if texts else ()
        return Compiled(
            name=made.binary.name,
            registers=made.registers,
            spills=made.spill_bytes // 4,
            shared_bytes=int(made.metadata["shared"]),
            num_warps=int(made.metadata["num_warps"]),
            max_threads=MOST_THREADS,
            global_scratch_bytes=int(made.metadata["global_scratch_size"]),
            global_scratch_align=max(1, int(made.metadata["global_scratch_align"])),
            texts=told,
        )

    def artifact(self, number: int) -> Artifact:
        """The machine code of a kernel that a plan launches.

        Raises:
            Ended: it does not compile, or does not fit on the device.
        """
        request, future = self._begun[number]
        where = f"{request.name}, line {request.line}" if request.line else request.name
        try:
            made = future.result()
        except CompileFailure as failure:
            text = diagnostics(str(failure))
            text = text if len(text) <= MESSAGE_LIMIT else "… " + text[-MESSAGE_LIMIT:]
            raise Ended(Status.COMPILE_ERROR, f"{where}: {text}") from None
        refused = self._too_large(made)
        if refused:
            raise Ended(Status.RUNTIME_ERROR, f"{where}: {refused.message}")
        return made

    def _too_large(self, made: Artifact) -> Uncompiled | None:
        shared, threads = int(made.metadata["shared"]), 32 * int(made.metadata["num_warps"])
        for needed, limit, resource in (
            (shared, self._shared_limit, "shared memory"),
            (threads, MOST_THREADS, "threads"),
        ):
            if needed > limit:
                message = (
                    f"out of resource: {resource}, Required: {needed}, Hardware limit: {limit}. "
                    "Reducing block sizes or `num_stages` may help."
                )
                return Uncompiled(Refusal.RESOURCES, message, needed, limit, resource)
        return None


def _option(value: Plain) -> object:
    if value.kind is PlainKind.NONE:
        return None
    return value.text if value.kind is PlainKind.TEXT else value.number
