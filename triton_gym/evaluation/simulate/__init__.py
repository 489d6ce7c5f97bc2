"""The simulated device: correctness by the interpreter, resources by the compiler, time by a model.

Nothing here is measured. `build_reply` runs in a process with plain Triton, `trace_reply` in one
where Triton interprets; both return plain JSON values, which `estimate` turns into a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triton_gym.device import Gpu
    from triton_gym.evaluation.simulate.interpreter.evidence import Call, Evidence
    from triton_gym.evaluation.simulate.machine_code.build import Compiled
    from triton_gym.evaluation.simulate.time_model.model import Estimate

__all__ = [
    "build_reply", "compile_call", "estimate", "gather", "prepare", "pretend", "trace_reply",
    "traced_call",
]  # fmt: skip


def prepare(*, interpret: bool) -> None:
    """Import, before a process forks, what its children need."""
    from triton_gym.evaluation.simulate import host  # noqa: F401
    from triton_gym.evaluation.simulate.machine_code import build, filecache  # noqa: F401

    if interpret:
        from triton_gym.evaluation.simulate.interpreter import evidence, trace  # noqa: F401
        from triton_gym.evaluation.simulate.interpreter import interpret as interpreter

        interpreter.install()


def pretend(gpu: str = "h100") -> Any:
    """A context in which host code finds a GPU of that name; see `host.pretend`."""
    from triton_gym.device import gpu_named
    from triton_gym.evaluation.simulate import host

    return host.pretend(gpu_named(gpu))


def compile_call(call: Callable[[], Any], gpu: str) -> Compiled:
    """Compile what a call launches; raises `BuildError` where that fails."""
    from triton_gym.device import gpu_named
    from triton_gym.evaluation.simulate.machine_code.build import compile_launches

    return compile_launches(call, gpu_named(gpu))


def build_reply(launches: Compiled) -> dict[str, Any]:
    """What the machine code of the launches consists of."""
    return {"builds": [b.record() for b in launches.builds()]}


def trace_reply(
    call: Callable[[], Any], gpu: str, launches: list[Any] | None = None
) -> dict[str, Any]:
    """Follow some programs of what a call launches; `launches` is filled for `gather`."""
    from triton_gym.device import gpu_named
    from triton_gym.evaluation.simulate.interpreter.trace import trace

    return {"traces": [t.record() for t in trace(call, gpu=gpu_named(gpu), launches=launches)]}


def traced_call(
    launches: list[Any], results: list[Any], copies: list[Any], given: set[int]
) -> Call:
    """A call that `trace_reply` has followed, to be replayed; see `evidence.Call`."""
    from triton_gym.evaluation.simulate.interpreter.evidence import Call

    return Call(launches, results, copies, given)


def gather(call: Call, configs: list[Any], seed: int) -> Evidence:
    """What programs of a traced call compute when they run to their end."""
    from triton_gym.evaluation.simulate.interpreter.evidence import Evidence

    return Evidence(call, configs, seed)


def estimate(builds: dict[str, Any], traces: dict[str, Any], gpu: Gpu) -> Estimate:
    """The modelled time of a call, from the replies of its two processes."""
    from triton_gym.evaluation.simulate.launches import LaunchTrace
    from triton_gym.evaluation.simulate.machine_code.build import Build
    from triton_gym.evaluation.simulate.time_model.model import estimate as model

    return model(
        [Build.read(b) for b in builds["builds"]],
        [LaunchTrace.read(t) for t in traces["traces"]],
        gpu,
    )
