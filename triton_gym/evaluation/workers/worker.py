"""The process that runs one answer. Everything in it, from the moment it loads, is hostile ground.

A worker obeys the judge's requests, one reply each, until it is killed. What it reports is never
believed where it would gain from lying: results are compared by the judge in the judge's own
memory, and times are held against the judge's clock. A failure that it reports is believed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from triton_gym.evaluation.exchange.arena import CudaArena, HostArena, PrivateArena
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed
from triton_gym.evaluation.exchange.gate import Gate
from triton_gym.evaluation.workers import launch
from triton_gym.evaluation.workers.answer import Wanted, import_answer
from triton_gym.evaluation.workers.failure import Failure
from triton_gym.evaluation.workers.host import AnswerHost
from triton_gym.evaluation.workers.sandbox import Limits, Sandbox, Unconfined
from triton_gym.evaluation.workers.trial import Trial
from triton_gym.evaluation.workers.watch import Watch, load_dispatch
from triton_gym.outcome import Status
from triton_gym.task import Kind

MESSAGE_LIMIT = 3000
"""Longest feedback in characters."""
_YIELDING = 10
"""Niceness of a worker that only compiles."""


def prepare(mode: str) -> None:
    """What a fork server imports before it forks, so that workers start at once."""
    torch.set_num_threads(1)
    AnswerHost.simulated = mode != "cuda"
    import triton
    import triton.compiler
    import triton.language  # noqa: F401

    from triton_gym.evaluation import simulate

    if mode == "cuda":
        launch.prepare()
    simulate.prepare(interpret=mode == "interpret")
    from triton_gym.evaluation.workers import warm

    (warm.warm_interpreter if mode == "interpret" else warm.warm_compiler)()
    load_dispatch()


def main(channel: Channel, sandbox: Sandbox) -> None:
    """Serve the judge until it hangs up. Never returns to the fork server's code."""
    worker = Worker(sandbox)
    while True:
        try:
            request = channel.receive()
        except ChannelClosed:
            return
        try:
            reply = worker.obey(request)
        except Failure as failure:
            reply = {
                "status": str(failure.status), "message": str(failure)[:MESSAGE_LIMIT],
                "again": failure.again,
            }  # fmt: skip
        except Exception as error:  # in the worker's own code, whoever broke it
            text = f"The process that ran the answer failed: {type(error).__name__}: {error}"
            reply = {"status": str(Status.RUNTIME_ERROR), "message": text[:MESSAGE_LIMIT]}
        channel.send(reply)


class Worker(AnswerHost):
    """Obeys the judge's requests about one answer."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox
        self._series: Any = None
        self._watch = Watch("", "")
        self._staged: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._gate: Gate | None = None
        self._trial: Any = None
        self._compiled: Any = None
        self._resident_bytes = -1

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        operation: Callable[..., dict[str, Any]] = getattr(self, "do_" + request.pop("op"))
        return operation(**request)

    def do_enter(self, folder: str, limits: dict[str, Any], yields: bool = False) -> dict[str, Any]:
        """Take on the limits, before anything of the answer is read."""
        if yields:
            _give_way()
        try:
            self._sandbox.restrict(folder, Limits(**limits))
        except Unconfined as error:
            return {"unconfined": str(error)}
        return {"layers": sorted(self._sandbox.layers)}

    def do_cuda(self, index: int, share: float, flush_bytes: int) -> dict[str, Any]:
        """Start CUDA."""
        self._device = torch.device("cuda", index)
        self._gpu = launch.Gpu(self._device, share, flush_bytes)
        return {}

    def do_load(
        self, path: str, source: str, entry: str, kind: str = Kind.FUNCTION, gpu: str = "h100"
    ) -> dict[str, Any]:
        """Import the answer and find its entry point."""
        self._path, self._entry, self._kind, self._gpu_name = path, entry, kind, gpu
        with self._host():
            module = self._guard(Status.COMPILE_ERROR, import_answer, path, source)
        call = getattr(module, entry, None)
        if not callable(call):
            defined = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise Failure(
                Status.COMPILE_ERROR,
                f"The module must define a {'class' if kind == Kind.MODULE else 'function'} named "
                f"{entry!r}; it defines {', '.join(defined) or 'none'}.",
            )
        is_module = isinstance(call, type) and issubclass(call, torch.nn.Module)
        if kind == Kind.MODULE and not is_module:
            raise Failure(
                Status.COMPILE_ERROR, f"{entry} must be a class that inherits from torch.nn.Module."
            )
        self._call = call
        return {}

    def do_open(self, size: int, handle: str = "", fds: list[int] | None = None) -> dict[str, Any]:
        """Map the memory that is shared with the judge."""
        if fds:
            self._arena = HostArena(size, fds[0])
        else:
            self._arena = CudaArena.open(handle, size, self._device)
        return {}

    def do_gate(self, fds: list[int]) -> dict[str, Any]:
        """Map the gate at which timed work waits."""
        self._gate = Gate(fds[0])
        return {}

    def do_call(self, calls: list[dict[str, Any]], timed: bool = False) -> dict[str, Any]:
        """Run the answer on each set of arguments and put its results where the judge looks.

        Args:
            calls: what is called, with which arguments.
            timed: whether calls of this size will be timed.
        """
        copied, took_us, launches, scratch = 0, 0.0, 0, 0
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            self._gpu.hasty = not timed
        for call in calls:
            function = self._callable(call.get("module"), call["case"])
            watch = Watch(self._path, call["case"])
            launched = self._gpu.launches if on_gpu else 0
            resident = self._resident() if on_gpu and timed else 0
            start = time.perf_counter()
            with torch.no_grad(), watch:
                results = self._run(function, call)
            copied = max(copied, watch.copied_bytes)
            with torch.no_grad():
                torch._foreach_copy_(self._slots(call["outputs"]), results)
            if on_gpu:
                self._guard(Status.RUNTIME_ERROR, torch.cuda.synchronize)
                launches = self._gpu.launches - launched
                peak = torch.cuda.max_memory_allocated(self._device)
                scratch = max(0, peak - resident - sum(r.nbytes for r in results)) if timed else 0
            took_us = (time.perf_counter() - start) * 1e6
        return {
            "copied_bytes": copied, "took_us": took_us, "launches": launches,
            "scratch_bytes": scratch,
        }  # fmt: skip

    def _resident(self) -> int:
        """Bytes of device memory that were in use before the first call of the timed size: what an
        answer keeps between calls is its scratch memory too. The peak is measured from now on."""
        if self._resident_bytes < 0:
            self._resident_bytes = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return self._resident_bytes

    def do_stage(self, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the calls that are queued next ready."""
        self._gpu.forget()
        self._watch = Watch(self._path, "the timed case")

        def staged(call: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], None]]:
            arguments, slots = self._arguments(call), self._slots(call["outputs"])
            wanted = Wanted(call, self._entry, self._device)
            function = self._callable(call.get("module"), call["case"])

            def run() -> Any:
                with torch.no_grad(), self._watch:  # answers may change once tested
                    return wanted.dense(function(*arguments))

            def keep(result: Any) -> None:
                found = wanted.hold(result)
                with torch.no_grad():
                    torch._foreach_copy_(slots, found)

            return run, keep

        self._staged = [staged(call) for call in calls]
        self._series = launch.Series(len(calls))
        return {}

    def do_queue(self, turn: int, flushed: bool) -> dict[str, Any]:
        """Queue the staged calls and the copies of their results, behind the gate.

        Replies once all of it is queued: none has run if none had to be waited for.
        """
        if self._gate is None:
            raise RuntimeError("a request needs the gate before it was opened")
        wait = functools.partial(self._gate.enter, turn)
        queue = functools.partial(
            self._gpu.queue, self._series, self._staged, wait, flushed=flushed
        )
        self._guard(Status.RUNTIME_ERROR, queue)
        self._gate.leave(turn)
        return {}

    def do_times(self, flushed: bool) -> dict[str, Any]:
        """Device time of each call of the last `do_queue`, in µs, and bytes that a call copied."""
        self._guard(Status.RUNTIME_ERROR, torch.cuda.synchronize)
        copied = self._watch.copied_bytes / len(self._staged)
        times = self._series.times_us if flushed else []
        return {"times_us": times, "copied_bytes": copied}

    def do_resources(self) -> dict[str, Any]:
        """Registers, spills and shared memory of the kernels that were launched."""
        return self._gpu.resources()

    def do_build(
        self, arguments: Any, gpu: str, module: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Compile the answer's launches for a GPU that is not here."""
        from triton_gym.evaluation import simulate

        call = self._bench_call(arguments, module)
        self._compiled = self._guard(Status.RUNTIME_ERROR, simulate.compile_call, call, gpu)
        return {}

    def do_inspect(self) -> dict[str, Any]:
        """What the machine code of the last `do_build` consists of."""
        from triton_gym.evaluation import simulate

        reply: dict[str, Any] = self._guard(
            Status.RUNTIME_ERROR, simulate.build_reply, self._compiled
        )
        return reply

    def do_compile(
        self, arguments: Any, gpu: str, module: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Fill Triton's cache for a call, without the GPU."""
        from triton_gym.evaluation.workers.precompile import precompile

        self._gpu_name = gpu
        build = functools.partial(precompile, host_code=True)
        self._guard(Status.RUNTIME_ERROR, build, self._bench_call(arguments, module), gpu)
        return {}

    def do_asked(self) -> dict[str, Any]:
        """Whether host code wanted to know what a compiled kernel uses."""
        from triton_gym.evaluation.simulate.interpreter.state import State

        return {"asked": State.asked}

    def do_trace(
        self, call: dict[str, Any], size: int, fds: list[int] | None = None,
        resources: dict[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Follow a few program instances of the answer's launches; see `Trial`.

        Args:
            call: the call, with slots in the arguments' memory if there is any; of a module with
                how it is built, and slots of its state in that memory.
            size: bytes of the arguments' memory.
            fds: that memory, which is sealed.
            resources: what kernels use, by name, where host code wants to know.
        """
        from triton_gym.evaluation.simulate.interpreter.state import State

        State.resources.update(resources or {})
        self._arena = PrivateArena(size, fds[0]) if fds else None
        made = self._arguments(call) if self._arena else self._unwritten(call["arguments"])
        module, case = call["module"], call["case"]
        # Without a reference for what is stored, parameters need no values.
        filled = module is not None and "state" in module
        function = self._callable(module, case, filled=filled)
        wanted = Wanted(call, self._entry, self._device)
        self._trial = Trial(function, made, self._path, case, wanted)
        reply: dict[str, Any] = self._guard(
            Status.RUNTIME_ERROR, self._trial.trace, self._gpu_name, case=case
        )
        return reply

    def do_verify(self, configs: list[Any], seed: int, size: int, fds: list[int]) -> dict[str, Any]:
        """Run some programs of the traced launches in earnest, and hand over what they stored."""
        arena = HostArena(size, fds[0])
        reply: dict[str, Any] = self._guard(
            Status.RUNTIME_ERROR, self._trial.verify, configs, seed, arena, case="the timed case"
        )
        return reply

    def do_survey(self, output: int) -> dict[str, Any]:
        """How much of a result each program of its launch stores."""
        reply: dict[str, Any] = self._guard(
            Status.RUNTIME_ERROR, self._trial.survey, output, case="the timed case"
        )
        return reply


def _give_way() -> None:
    """Let others have the processors first.

    A worker is a session of its own, which Linux may schedule as a group of its own: among such
    groups it is the group's niceness that counts.
    """
    os.nice(_YIELDING)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(_YIELDING))
