"""The answer in its process: how it is called, on which memory, and what becomes of its errors."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

import torch

from triton_gym.evaluation import modules, trees
from triton_gym.evaluation.exchange.arena import Arena, Slot
from triton_gym.evaluation.workers.answer import Wanted, zeros
from triton_gym.evaluation.workers.failure import Failure, line_in
from triton_gym.evaluation.workers.room import lacks_room
from triton_gym.evaluation.workers.watch import Watch
from triton_gym.outcome import Status


class AnswerHost:
    """An answer that was loaded, with its modules and the memory that the judge shares."""

    simulated = False
    """Whether answers find a GPU that is not here; set in the fork server."""

    def __init__(self) -> None:
        self._path = ""
        self._entry = ""
        self._kind = ""
        self._gpu_name = ""
        self._call: Callable[..., Any] = lambda: None
        self._modules: dict[str, torch.nn.Module] = {}
        self._arena: Arena | None = None
        self._device = torch.device("cpu")

    def _callable(
        self, module: dict[str, Any] | None, case: str, *, filled: bool = True
    ) -> Callable[..., Any]:
        """What a call calls: the answer's function, or its module, built when first needed.

        Nothing watches a constructor: it knows none of the inputs.
        """
        if module is None:
            return self._call
        key = json.dumps([module["init"], module["seed"], filled])
        if key not in self._modules:
            build = functools.partial(
                modules.build, self._call, modules.unpack(module["init"]), module["seed"],
                module["dtype"], None if self.simulated else self._device, filled=filled,
            )  # fmt: skip
            with self._host(pretended=not filled):
                made = self._guard(Status.RUNTIME_ERROR, build, case=case)
            state = [(name, self._view(Slot.read(slot))) for name, slot in module.get("state", ())]
            with torch.no_grad():
                self._guard(Status.RUNTIME_ERROR, modules.load_state, made, state, case=case)
            self._modules[key] = made
        return self._modules[key]

    def _bench_call(self, arguments: Any, module: dict[str, Any] | None) -> Callable[[], Any]:
        """The answer on arguments of full size, which take no memory until they are written."""
        made = self._unwritten(arguments)
        function = self._callable(module, "the timed case", filled=False)

        def call() -> None:
            with torch.no_grad(), Watch(self._path, "the timed case"):
                function(*made)

        return call

    def _arguments(self, call: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call, where the judge has put them."""
        views = iter([self._view(Slot.read(slot)) for slot in call["inputs"]])
        made: tuple[Any, ...] = trees.assemble(trees.read(call["arguments"]), views)
        return made

    def _unwritten(self, arguments: Any) -> tuple[Any, ...]:
        """Arguments whose values do not matter."""
        tree = trees.read(arguments)
        made: tuple[Any, ...] = trees.assemble(tree, iter(map(zeros, trees.leaves(tree))))
        return made

    def _slots(self, outputs: list[Any]) -> list[torch.Tensor]:
        return [self._view(Slot.read(value)) for value in outputs]

    def _view(self, slot: Slot) -> torch.Tensor:
        if self._arena is None:
            raise RuntimeError("a request needs shared memory before it was opened")
        return self._arena.view(slot)

    def _run(self, function: Callable[..., Any], call: dict[str, Any]) -> list[torch.Tensor]:
        made, wanted = self._arguments(call), Wanted(call, self._entry, self._device)
        with self._host():
            found: list[torch.Tensor] = self._guard(
                Status.RUNTIME_ERROR, lambda: wanted.dense(function(*made)), case=call["case"]
            )
        return wanted.hold(found)

    def _host(self, *, pretended: bool = False) -> contextlib.AbstractContextManager[None]:
        """Where host code runs: on a simulated device it finds the GPU that it was written for.

        Args:
            pretended: the same on a real device, which a process that only compiles leaves alone.
        """
        if not (self.simulated or pretended):
            return contextlib.nullcontext()
        from triton_gym.evaluation import simulate

        host: contextlib.AbstractContextManager[None] = simulate.pretend(self._gpu_name)
        return host

    def _guard(
        self, status: Status, function: Callable[..., Any], *arguments: Any, case: str = ""
    ) -> Any:
        """Call something that runs the answer; whatever it raises becomes a `Failure`."""
        try:
            return function(*arguments)
        except Failure:
            raise
        except BaseException as error:  # an answer may raise anything, SystemExit included
            raise self._failure(status, error, case) from None

    def _failure(self, status: Status, error: BaseException, case: str) -> Failure:
        kind = type(error).__name__
        library = type(error).__module__.partition(".")[0]
        if (library == "triton" and kind != "InterpreterError") or kind == "BuildError":
            status = Status.COMPILE_ERROR
        if kind == "InterpreterError" and error.__cause__ is not None:
            error = error.__cause__
            kind = type(error).__name__
        text = str(error).strip() or "no message"
        line = line_in(error, self._path)
        where = f" on {case}" if case else ""
        told = f"{kind}{where}{line}: {text}"
        return Failure(status, told, again=lacks_room(error))
