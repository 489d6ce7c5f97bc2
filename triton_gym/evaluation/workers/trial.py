"""A call at full size in the worker of a simulated device: followed, then replayed in part.

All of this runs on hostile ground: `worker_reports` reads what it reports, and `proof` judges it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from triton_gym.evaluation import trees
from triton_gym.evaluation.exchange.arena import HostArena
from triton_gym.evaluation.workers.answer import Wanted
from triton_gym.evaluation.workers.watch import Watch


class Trial:
    """One call.

    Args:
        function: the answer.
        arguments: tensors and numbers of the timed case.
        path: where the answer's source lies.
        case: name of the timed case.
        wanted: what it must return.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], path: str, case: str,
        wanted: Wanted,
    ) -> None:  # fmt: skip
        self._function = function
        self._arguments = arguments  # the launches hold addresses in them
        self._path = path
        self._case = case
        self._wanted = wanted
        self._traced: Any = None
        self._evidence: Any = None

    def trace(self, gpu: str) -> dict[str, Any]:
        """Follow some programs of what the call launches.

        The reply has also the bytes of what PyTorch copies and fills for the call.

        Args:
            gpu: name of the device that host code finds.
        """
        from triton_gym.evaluation import simulate

        watch = Watch(self._path, self._case, following=True)
        returned: list[torch.Tensor] = []

        def call() -> None:
            with torch.no_grad(), watch:
                returned.extend(self._wanted.dense(self._function(*self._arguments)))

        launches: list[Any] = []
        reply = simulate.trace_reply(call, gpu, launches)
        reply["copies"], reply["fills"] = watch.moved()
        given = {x.untyped_storage().data_ptr() for x in trees.flatten(self._arguments)[0]}
        results = self._wanted.hold(returned)
        self._traced = simulate.traced_call(launches, results, watch.copies, given)
        return reply

    def verify(self, configs: list[Any], seed: int, arena: HostArena) -> dict[str, Any]:
        """Run some programs of the traced launches in earnest; see `Evidence.reply`."""
        from triton_gym.evaluation import simulate

        self._evidence = simulate.gather(self._traced, configs, seed)
        reply: dict[str, Any] = self._evidence.reply(arena, arena.size)
        return reply

    def survey(self, output: int) -> dict[str, Any]:
        """See `Evidence.survey`."""
        reply: dict[str, Any] = self._evidence.survey(output)
        return reply
