"""What `kernel.warmup(…)` returns where kernels are interpreted: a kernel that says what it uses.

Host code reads registers and shared memory of a compiled kernel to choose a grid (as Triton's
tutorial on softmax does), and may launch that object in the kernel's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from triton_gym.evaluation.simulate.interpreter.state import State

ASSUMED = {"registers": 32, "spills": 0, "shared_bytes": 1024}
"""Resources of a kernel that was not compiled; tests do not depend on them, and before a time is
modelled the compiler says what they are."""


class Compiled:
    """Stands for Triton's `CompiledKernel`."""

    def __init__(self, function: Any, given: Mapping[str, Any]) -> None:
        used = State.resources.get(function.fn.__name__, ASSUMED)
        State.asked = True
        self._function = function
        self._given = {name: value for name, value in given.items() if name in function.arg_names}
        self.name = function.fn.__name__
        self.n_regs = used["registers"]
        self.n_spills = used["spills"]
        self.n_max_threads = 1024
        self.metadata = SimpleNamespace(
            shared=used["shared_bytes"], name=self.name, num_ctas=1,
            num_warps=given.get("num_warps", 4), num_stages=given.get("num_stages", 3),
        )  # fmt: skip

    def _init_handles(self) -> None:
        """Nothing is loaded."""

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        names = self._function.arg_names

        def launch(*arguments: Any, **_: Any) -> Any:
            rest = {n: v for n, v in self._given.items() if n not in names[: len(arguments)]}
            return self._function.run(*arguments, grid=grid, warmup=False, **rest)

        return launch
