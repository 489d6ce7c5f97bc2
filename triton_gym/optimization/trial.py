"""A process in which candidates run as they would run in the user's, beside what runs there now.

    python -m triton_gym.optimization.trial FOLDER PARENT   # requests and replies are lines of JSON

A judge has found a candidate correct before it comes here. Here its host function is called as it
stands, on the user's examples and on drawn shapes, its results are held against the function's own
(strides and memory included), and pairs are timed. A kernel that faults takes this process with
it, and no other.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch.utils import _pytree as pytree

from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation import check
from triton_gym.evaluation.comparison import compare as compare_results
from triton_gym.evaluation.conditioning import reconsidered
from triton_gym.evaluation.confine.privileges import die_with
from triton_gym.evaluation.modules import bind
from triton_gym.evaluation.trees import flatten
from triton_gym.optimization.beside_compile import LEAST as BESIDE
from triton_gym.optimization.beside_compile import Beside, Compiled
from triton_gym.optimization.binding import Binding
from triton_gym.optimization.cache import COMPILED
from triton_gym.optimization.decision import Decision
from triton_gym.optimization.pairs import (
    Clock,
    Pair,
    Ratio,
    Times,
    Trial,
    compare,
    cuda_clock,
    wall_clock,
)
from triton_gym.optimization.running import Loaded, compiling, load
from triton_gym.optimization.shadow import slackened, unlike
from triton_gym.optimization.spec import BEGIN, Spec, calls
from triton_gym.optimization.traced import TracedFunction
from triton_gym.optimization.turn import Turn
from triton_gym.task import Case

DRAWN, SMALL = 10, 6
"""Shapes drawn from the task's range, and small ones, besides the examples; kernels are compiled
for them, too. Blocks of a product shrink with its rows: each size of a block is another kernel."""
BUSY, MOST_REST_S = 0.1, 1.0
"""How much of the time of a check the GPU is busy (an estimate), and the longest rest after one."""
CALLS = 3
"""Calls that are held against the function's, of each shape: the third replays the second."""
SETS = 4
"""Copies of the examples that pairs go round."""
LEAST = 25
"""Pairs of a candidate that won, for the interval of its speedup."""
_SHARE_OF_MEMORY = 0.1


class Bench:
    """The function with its examples on the device, and the candidates tried on it.

    Args:
        function: the original.
        traced: of it.
        examples: calls of it, as (args, kwargs).
        folder: where candidates' files go.
        share: of the time, how much this may use the GPU for timing.
        compiled: where their compiled kernels go, for the program to find; see `running.load`.
        compiler: what candidates are held against beside the function; `torch.compile` on a GPU if
            None, nothing elsewhere.
    """

    def __init__(
        self, function: Callable[..., Any], traced: TracedFunction,
        examples: list[tuple[tuple[Any, ...], dict[str, Any]]], folder: Path, share: float = 1.0,
        compiled: Path | None = None, compiler: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        self.function, self.traced, self.examples = function, traced, examples
        self.binding = Binding.of(traced)
        self.device = torch.device(self.binding.device)
        self._folder, self._share, self._compiled_in = folder, share, compiled
        self._clock: Clock = cuda_clock if self.device.type == "cuda" else wall_clock
        self._turn = Turn(self.device)
        self._sets = self._copies()
        if compiler is None and self.device.type == "cuda":
            compiler = torch.compile
        self.compiled = Compiled(function, examples, compiler)

    def prepare(self) -> None:
        """Do what the first candidate would wait for: load PyTorch's kernels, draw, compile."""
        with contextlib.suppress(Exception), torch.no_grad(), self._turn:  # who needs it will say
            self._turn.take()
            for args, kwargs in self.examples:
                self.function(*args, **kwargs)
            self._timed(0)
        with torch.no_grad():
            self.compiled.program()

    def try_candidate(
        self, source: str, *, number: int, now: Mapping[str, Any] | None, against: str, seed: int,
        least: int = LEAST, keep: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Check a candidate and take pairs.

        Args:
            source: of the candidate.
            number: which it is, for its share of the chance of a wrong swap.
            now: source and choices of the kernel that runs now; None for the function.
            against: see `spec.BASELINES`.
            seed: of drawn shapes and of the order in pairs.
            least: pairs to take if it wins.
            keep: choices of its tuners, if they are known.

        Returns:
            JSON: `ok`, and why not; its choices, tolerances, speedups and pairs; `compiled`, see
            `Beside`, or `not_compiled`, why there is none.
        """
        with torch.no_grad(), compiling():
            loaded = self._load(source, keep)
            why = self._wrong(loaded, seed)
            if why is not None and loaded.stop_replaying():
                why = self._wrong(loaded, seed)  # its host function as it stands
            if why is not None:
                return {"ok": False, "faster": False, "why": why}
            if now is not None:
                before = self._load(now["source"], now["choices"])
                if not now.get("replays", True):
                    before.stop_replaying()
                running = self._answer(before)
            else:
                running = self._original(against)
            with self._turn:
                trial, pairs = self._pairs(running, self._answer(loaded), number, seed, least)
                beside = None
                if trial.decision.faster and against == "eager":
                    beside = self._beside_compile(self._answer(loaded), number, seed)
            timed = self._timed(seed)
        device = [one.now.device_us / one.candidate.device_us for one in pairs]
        wall = [one.now.wall_us / one.candidate.wall_us for one in pairs]
        return {
            "ok": True, "faster": trial.decision.faster, "why": "",
            "choices": loaded.choices() or dict(keep or {}), "replays": loaded.replays,
            "timed": {
                "tolerances": timed.tolerances, "spared": timed.spared, "exact": timed.exact,
                "typical": timed.typical,
            },
            "compiled": beside and beside.told(), "not_compiled": self.compiled.why,
            "device": _ratio(device), "wall": _ratio(wall),
            "decided_after": trial.decision.pairs, "wins": trial.decision.wins,
            "evalue": trial.decision.evalue, "needed": trial.decision.needed,
            "device_us": [[one.now.device_us, one.candidate.device_us] for one in pairs],
            "wall_us": [[one.now.wall_us, one.candidate.wall_us] for one in pairs],
        }  # fmt: skip

    def _pairs(
        self, running: Callable[[int], Callable[[], Any]],
        candidate: Callable[[int], Callable[[], Any]], number: int, seed: int, least: int,
    ) -> tuple[Trial, tuple[Pair, ...]]:  # fmt: skip
        """Pairs until it is decided, and of a candidate that won some more."""
        trial = compare(
            running, candidate, clock=self._resting, decision=Decision(number),
            rng=random.Random(seed),
        )  # fmt: skip
        if not trial.decision.faster or len(trial.pairs) >= least:
            return trial, trial.pairs
        more = compare(
            running, candidate, clock=self._resting, decision=Decision(number, most=0),
            rng=random.Random(seed + 1), least=least - len(trial.pairs),
        )  # fmt: skip
        return trial, (*trial.pairs, *more.pairs)

    def _beside_compile(
        self, candidate: Callable[[int], Callable[[], Any]], number: int, seed: int
    ) -> Beside | None:
        """What a candidate comes to beside `torch.compile`; None where that makes no program."""
        if self.compiled.program() is None:
            return None
        trial = compare(
            self._original("compile"), candidate, clock=self._resting, decision=Decision(number),
            rng=random.Random(seed + 2), least=BESIDE,
        )  # fmt: skip
        return Beside.of(trial.pairs, trial.decision)

    # -- what is called -------------------------------------------------------------------------

    def _load(self, source: str, choices: Mapping[str, Any] | None) -> Loaded:
        """A candidate whose tuners have chosen: nothing is tuned later."""
        loaded = load(source, self.traced.task.entry.name, self._folder, self._compiled_in)
        if choices:
            loaded.pin(choices)
        elif loaded.tuned:
            args, kwargs = self.examples[0]
            loaded.call(*self.binding.answer_arguments(self.function, args, kwargs))
            loaded.pin(loaded.choices())
        return loaded

    def _answer(self, loaded: Loaded) -> Callable[[int], Callable[[], Any]]:
        given = [self.binding.answer_arguments(self.function, *one) for one in self._sets]

        def make(number: int) -> Callable[[], Any]:
            arguments = given[number % len(given)]
            return lambda: loaded.call(*arguments)

        return make

    def _original(self, against: str) -> Callable[[int], Callable[[], Any]]:
        function = self.function
        if against == "compile":
            program = self.compiled.program()
            if program is None:
                raise InvalidOptionError(self.compiled.why)
            function = program

        def make(number: int) -> Callable[[], Any]:
            args, kwargs = self._sets[number % len(self._sets)]
            return lambda: function(*args, **kwargs)

        return make

    def _resting(self, *calls: Callable[[], Any]) -> tuple[Times, ...]:
        self._turn.take()
        began = time.perf_counter()
        found = self._clock(*calls)
        if self._share < 1:  # leave the GPU to others
            self._turn.end()
            time.sleep((time.perf_counter() - began) * (1 / self._share - 1))
        return found

    def _copies(self) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        tensors = [t for one in self.examples for t in pytree.tree_leaves(one) if _is_tensor(t)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if self.device.type == "cuda" and (
            size * SETS > _SHARE_OF_MEMORY * torch.cuda.mem_get_info(self.device)[0]
        ):
            return list(self.examples)
        copy = _detached
        return [pytree.tree_map(copy, one) for _ in range(SETS) for one in self.examples]

    # -- whether it is right ----------------------------------------------------------------------

    def _wrong(self, loaded: Loaded, seed: int) -> str | None:
        """What is wrong with a candidate's results, in words."""
        timed = slackened(self._timed(seed))
        for args, kwargs in self.examples:
            arguments = self.binding.answer_arguments(self.function, args, kwargs)
            original = functools.partial(self.function, *args, **kwargs)
            for _ in range(CALLS):
                why = self._unequal(loaded, arguments, original, timed, "an example")
                if why is not None:
                    return why
        rng = random.Random(seed)
        # Where the GPU is shared, shapes are small: a judge has looked at large ones already.
        task, tiny = self.traced.task, self._share < 1
        cases = [*task.hidden(rng, DRAWN, tiny=tiny), *task.hidden(rng, SMALL, tiny=True)]
        for index, case in enumerate(dict.fromkeys(cases)):
            began = time.perf_counter()
            try:
                why = self._wrong_on(loaded, case, seed + index)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                continue
            if why is not None:
                return why
            if self._share < 1:  # the host does most of it
                spent = time.perf_counter() - began
                time.sleep(min(MOST_REST_S, BUSY * spent * (1 / self._share - 1)))
        return None

    def _wrong_on(self, loaded: Loaded, case: Case, seed: int) -> str | None:
        task = bind(self.traced.task, case, seed, self.device)
        arguments = check.draw_inputs(task, case, seed, self.device)
        plain = check.returned(task, arguments, case)
        expected = check.expect(task, case, arguments, plain)
        for _ in range(CALLS):
            found = flatten(loaded.call(*arguments), numbers=True)[0]
            why = unlike(found, plain.tensors)
            if why is not None:
                return f"on {case}, {why}"
            verdict = check.compare(found, expected, str(case))
            verdict = reconsidered(verdict, found, task, case, arguments, str(case))
            if not verdict.ok:
                return verdict.message
        return None

    def _unequal(
        self, loaded: Loaded, arguments: tuple[Any, ...], original: Callable[[], Any],
        timed: check.Timed, where: str,
    ) -> str | None:  # fmt: skip
        tensors = [one for one in pytree.tree_leaves(arguments) if _is_tensor(one)]
        before = [tensor.clone() for tensor in tensors]
        found = flatten(loaded.call(*arguments), numbers=True)[0]
        expected = flatten(original(), numbers=True)[0]
        why = unlike(found, expected)
        if why is not None:
            return f"on {where}, {why}"
        places = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
        own = [result.untyped_storage().data_ptr() for result in found if result.numel()]
        if places & set(own) or len(set(own)) < len(own):
            return f"on {where}, a result shares memory with an argument or another result"
        for tensor, kept in zip(tensors, before, strict=True):
            if not torch.equal(_bits(tensor), _bits(kept)):
                return f"on {where}, an argument was changed"
        verdict = compare_results(found, timed.of(tuple(expected)), where)
        return None if verdict.ok else verdict.message

    def _timed(self, seed: int) -> check.Timed:
        task, case = self.traced.task, self.traced.task.bench[0]
        arguments = check.draw_inputs(task, case, seed, self.device)
        bound = bind(task, case, seed, self.device)
        return check.timed(bound, case, arguments, check.returned(bound, arguments, case))


def _ratio(values: list[float]) -> list[float]:
    found = Ratio.of(values)
    return [found.median, found.low, found.high]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)


def main(folder: Path, parent: int) -> None:
    """Serve the requests of a search, a process of that id, until it ends or closes the pipe."""
    die_with(parent)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what candidates print is no reply
    if torch.cuda.is_available():
        torch.cuda.init()
    print(json.dumps({"ready": True}), file=replies, flush=True)
    bench: Bench | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if bench is None:  # the search has traced by now
            bench = _bench(folder)
        if "compiles" in request:
            if not request["compiles"]:  # who asks has seen it fail
                bench.compiled.give_up("torch.compile took too long, or ended the process")
            bench.prepare()
            print(json.dumps({"prepared": True}), file=replies, flush=True)
            continue
        try:
            reply = bench.try_candidate(**request)
        except Exception as error:
            reply = {"ok": False, "faster": False, "why": f"{type(error).__name__}: {error}"}
            if bench.device.type == "cuda":
                torch.cuda.synchronize()  # raises where the context is lost: this process ends
        print(json.dumps(reply), file=replies, flush=True)


def _bench(folder: Path) -> Bench:
    spec = Spec.read(folder)
    traced: TracedFunction = cloudpickle.loads((folder / "trial.pkl").read_bytes())["traced"]
    bench = Bench(
        spec.function, traced, calls(spec.examples), folder / "kernels", spec.share,
        Path(spec.cache, COMPILED) if spec.cache else None,
    )  # fmt: skip
    if spec.against == "eager-only":
        bench.compiled.give_up("nobody would compile the function, as against= says")
    return bench


if __name__ == "__main__":
    sys.path[:0] = json.loads((Path(sys.argv[1]) / BEGIN).read_text(encoding="utf-8"))["path"]
    main(Path(sys.argv[1]), int(sys.argv[2]))
