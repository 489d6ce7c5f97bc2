"""What a search's judge found right: tried against what runs now, and handed over if faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from triton_gym.evaluation.check import Timed
from triton_gym.optimization.admissible import objection
from triton_gym.optimization.bench_process import TrialProcess
from triton_gym.optimization.binding import Binding, Verified
from triton_gym.optimization.cache import Cache, Entry
from triton_gym.optimization.pairs import Ratio
from triton_gym.optimization.search_folder import SearchFolder
from triton_gym.optimization.spec import Spec
from triton_gym.optimization.traced import TracedFunction
from triton_gym.optimization.trials import Trials, Waiting
from triton_gym.outcome import Outcome

Say = Callable[..., None]
GAIN = 1.01
"""How much faster than the best so far a judge must find a candidate before it is tried."""


class Candidates:
    """The candidates of one search.

    Args:
        folder: of the search.
        spec: what it does.
        traced: the function.
        say: tells an event.
        device: what answers are evaluated on.
        trial: where candidates are tried; None if kernels cannot run here as in the user's program.
    """

    def __init__(
        self, folder: SearchFolder, spec: Spec, traced: TracedFunction, say: Say, device: str,
        trial: TrialProcess | None,
    ) -> None:  # fmt: skip
        self.folder, self.spec, self.traced, self._say = folder, spec, traced, say
        self._device, self._trial = device, trial
        self.best: tuple[float, str, str] | None = None
        """Judge's speedup, source and route of the best so far."""
        self.active: Verified | None = None
        """What was handed over last."""
        self._bar = 0.0
        """Judge's speedup of the fastest that could be swapped in, if pairs say so."""
        self._trials = Trials(self._try, self._worthwhile)
        self.trial_s = 0.0
        """Longest that a trial has taken."""
        folder.of(traced.digest)

    def again(self) -> None:
        """Hand over what an earlier process of this search did, if it still holds."""
        found = self.folder.active()
        if found is None or found.binding.digest != self.traced.digest:
            return
        self.active = found
        # It was ended between the two files: the kernel stands, and is not held against itself.
        known = {"ok": True, "faster": True, "why": "handed over before the search was ended"}
        self.folder.candidates.setdefault(found.source, known)
        self._say("swap", path=str(self.folder.active_file), number=found.number)

    def found(self, source: str, route: str, outcome: Outcome) -> bool:
        """Take an outcome in; whether it is the best so far.

        A better one is tried, beside the search.
        """
        if not outcome.correct or not outcome.speedup > 0:
            return False
        better = self.best is None or outcome.speedup >= GAIN * self.best[0]
        if better:
            self.best = (outcome.speedup, source, route)
            self.folder.write_best(source, outcome)
        waiting = Waiting(outcome.speedup, source, route)
        if self._trial is not None and self._worthwhile(waiting):
            self._trials.offer(waiting)
        return better

    def settle(self, seconds: float | None = None) -> None:
        """Wait for the trials; after so many seconds, for the one that goes on only."""
        self._trials.settle(seconds)

    def close(self) -> None:
        """Begin no further trial."""
        self._trials.close()

    def _worthwhile(self, waiting: Waiting) -> bool:
        """Whether a candidate is to be tried; what is known of one is taken in."""
        if waiting.speedup < GAIN * self._bar:
            return False
        known = self.folder.candidates.get(waiting.source)
        if known is not None and known["ok"]:  # what cannot be swapped in sets no bar
            self._bar = max(self._bar, waiting.speedup)
        return known is None

    def _try(self, waiting: Waiting) -> None:
        """Pairs against what runs now; a candidate that shows that it is faster is handed over."""
        source, route, trial = waiting.source, waiting.route, self._trial
        if trial is None:
            return
        began = time.monotonic()
        why = objection(source)
        number = len(self.folder.candidates) + 1
        now = None
        if self.active is not None:
            active = self.active
            now = {"source": active.source, "choices": active.choices, "replays": active.replays}
        found: dict[str, Any] = {"ok": False, "faster": False, "why": f"not swapped: {why}"}
        if why is None:
            found = trial.try_candidate({
                "source": source, "number": number, "now": now, "against": self.spec.against,
                "seed": self.spec.seed + number,
            })  # fmt: skip
        if found["faster"] and (found.get("compiled") or {}).get("slower"):
            found["why"] = _left_to_compile(found)
        takes = found["faster"] and not found["why"]
        verified = self._verified(source, route, number, found) if takes else None
        if verified is not None:  # first of all: if this process ends now, the kernel stands
            self.folder.write_active(verified)
        self.folder.tried(source, found)
        if found["ok"]:
            self._bar = max(self._bar, waiting.speedup)
        self.trial_s = max(self.trial_s, time.monotonic() - began)
        if found.get("died") and self.spec.cache:
            Cache(Path(self.spec.cache)).ban(source, str(found["why"]))
        told = {k: v for k, v in found.items() if k not in ("device_us", "wall_us", "timed")}
        seconds = round(time.monotonic() - began, 2)
        self._say("candidate", number=number, route=route, seconds=seconds, **told)
        if verified is not None:
            self.active = verified
            self.keep(finished=False)
            self._say("swap", path=str(self.folder.active_file), number=number)

    def _verified(self, source: str, route: str, number: int, found: Mapping[str, Any]) -> Verified:
        device, wall = Ratio(*found["device"]), Ratio(*found["wall"])
        before, compiled = self.active, found.get("compiled")
        return Verified(
            source=source, entry=self.traced.task.entry.name, binding=Binding.of(self.traced),
            choices=found["choices"], timed=_timed(found["timed"]),
            device=device if before is None else _times(before.device, device),
            wall=wall if before is None else _times(before.wall, wall),
            overall=device.median * (before.overall if before is not None else 1.0),
            against=self.spec.against, number=number, pairs=int(found["decided_after"]),
            evalue=float(found["evalue"]), route=route, replays=bool(found.get("replays", True)),
            compiled=Ratio(*compiled["device"]) if compiled else None,
            beats_compile=bool(compiled and compiled["faster"]),
        )  # fmt: skip

    def summary(self) -> str:
        """What the search came to, in words."""
        if self.active is not None:
            return f"{self.active.route}, {self.active.device} times on the device"
        if self.best is None:
            return "nothing that is right and faster was found"
        speedup, _, route = self.best
        if self._trial is None:
            return (
                f"{route}, {speedup:.2f} times on {self._device}; not swapped: there is no GPU to "
                "run it on"
            )
        tried = list(self.folder.candidates.values())
        last = tried[-1] if tried else {}
        left = next((one["why"] for one in reversed(tried) if one["faster"] and one["why"]), "")
        if left:
            return f"the judge's best was {speedup:.2f} times ({route}); {left}"
        return (
            f"no kernel was shown to be faster; the judge's best was {speedup:.2f} times ({route})"
            ". " + (last.get("why") or _pairs_said(last))
        )

    def keep(self, *, finished: bool, says: str = "") -> None:
        """Leave how it stands in the cache."""
        if self.spec.key and self._trial is not None:
            entry = Entry(self.active, finished, str(self.folder.path), says)
            Cache(Path(self.spec.cache)).put(self.spec.key, entry)


def _left_to_compile(found: Mapping[str, Any]) -> str:
    """Why a kernel that is faster than what runs now was not swapped in."""
    beside, before = found["compiled"]["device"][0], found["device"][0]
    return (
        f"not swapped: torch.compile is faster, {1 / beside:.2f} times on the device (and this "
        f"kernel {before:.2f} times as fast as what runs now; against='eager-only' would take it)"
    )


def _pairs_said(found: Mapping[str, Any]) -> str:
    """What the pairs of a candidate came to."""
    if not found.get("device"):
        return ""
    device, wall = Ratio(*found["device"]), Ratio(*found["wall"])
    return (
        f"The last one's pairs: {device} on the device, {wall} of the caller's time, "
        f"{found['wins']} of {found['decided_after']} won."
    )


def _timed(told: Mapping[str, Any]) -> Timed:
    return Timed(
        tuple(told["tolerances"]),
        tuple(told["spared"]),
        bool(told["exact"]),
        tuple(told["typical"]),
    )


def _times(one: Ratio, other: Ratio) -> Ratio:
    """The ratio of two steps; the interval of the product holds it at least as often."""
    return Ratio(one.median * other.median, one.low * other.low, one.high * other.high)
