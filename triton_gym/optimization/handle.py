"""An optimised function as its user holds it: the search, the cache and the swap, together."""

from __future__ import annotations

import atexit
import dataclasses
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from triton_gym.errors import InvalidOptionError, TritonGymError, warn
from triton_gym.evaluation.fingerprint import code_fingerprint
from triton_gym.optimization import spec as specs
from triton_gym.optimization.admissible import objection
from triton_gym.optimization.binding import Verified
from triton_gym.optimization.cache import Cache, Entry, environment_of, key_of
from triton_gym.optimization.report import Report, Search
from triton_gym.optimization.running import load
from triton_gym.optimization.search_process import SearchProcess
from triton_gym.optimization.spec import Spec
from triton_gym.optimization.swap import Swap
from triton_gym.optimization.warming import Warming
from triton_gym.optimization.watcher import WATCHER
from triton_gym.runs.folder import write_json

_POLL_S = 5.0
"""How often the cache is looked at while another process searches."""


class Optimization:
    """The optimisation of one function.

    Args:
        function: the original.
        spec: of its search; `key` and `cache` are filled in here.
        share: see `Swap`.
        backward: see `Swap`.
        folder: where runs go; in the cache's folder if None.
        cache: where kernels are kept.
        fresh: whether to search although the cache holds what a search found.
        resume: the run folder of a search to go on with.
        heard: called with each event of the search, in a thread of its own.
    """

    def __init__(
        self, function: Callable[..., Any], spec: Spec, *, share: float,
        backward: Callable[..., Any] | None, folder: Path | None, cache: Path | None,
        fresh: bool = False, resume: Path | None = None,
        heard: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:  # fmt: skip
        self._fresh, self._resume, self._listener = fresh, resume, heard
        self.spec, self._folder, self._cache_folder = spec, folder, cache
        self._warming = Warming()
        self.swap = Swap(
            function, share=share, backward=backward, banned=self._ban, wanted=self._warming.want
        )
        self.search = Search.IDLE
        self._says = ""
        self._tried: dict[str, int] = {}
        self._routes: dict[str, str] = {}
        self._run_folder: Path | None = None
        self._process: SearchProcess | None = None
        self._cache: Cache | None = None
        self._lock: Any = None
        self._done = threading.Event()
        self._pid = os.getpid()
        self._begun = False
        _ALL.add(self)

    # -- what a user does -------------------------------------------------------------------------

    def begin(self) -> None:
        """Look into the cache, and start the search if there is nothing; returns at once."""
        if self._begun:
            return
        self._begun = True
        self.search = Search.RUNNING
        WATCHER.post(self._begin)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the search has ended; whether it did in time. For scripts and tests."""
        return self._done.wait(seconds)

    def stop(self) -> None:
        """End the search; what was verified stays."""
        if self._process is not None and os.getpid() == self._pid:
            self._process.stop()

    def report(self) -> Report:
        """How the function stands now."""
        found = self.swap.report()
        reason = found.reason
        if found.runs == "original" and not reason:
            reason = self._says or "no kernel has shown that it is right and faster"
        return dataclasses.replace(
            found, reason="" if found.runs == "kernel" else reason, name=self.spec.name,
            search=self.search, search_says=self._says, tried=dict(self._tried),
            routes=dict(self._routes),
            run_folder="" if self._run_folder is None else str(self._run_folder),
        )  # fmt: skip

    # -- in the watcher's thread ------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._look_and_search()
        except TritonGymError as error:
            self._end(Search.FAILED, str(error))
        except Exception as error:  # the program goes on with the original
            self._end(Search.FAILED, f"{type(error).__name__}: {error}")

    def _look_and_search(self) -> None:
        spec = self.spec
        device = self._device()
        cache = self._cache = Cache(self._cache_folder)
        key = key_of(
            code_fingerprint(self.swap.function), specs.kind_of(spec.examples),
            _axes(spec.dynamic), {**environment_of(device), "against": spec.against},
        )  # fmt: skip
        entry = cache.get(key)
        if entry is not None:
            self._take(entry)
            if entry.finished and not self._fresh:
                self._end(Search.FINISHED, f"found earlier: {entry.says}")
                return
        folder = self._new_folder(cache, entry)
        lock = cache.lock(key)
        if not lock.__enter__():
            self._says = "another process searches; its kernel is taken from the cache"
            threading.Thread(target=self._poll, args=(key,), daemon=True).start()
            return
        self._lock = lock
        foreign = cache.unverified(key) if entry is None else ""
        self._run_folder = folder
        dataclasses.replace(
            spec, key=key, cache=str(cache.folder), sources=(foreign,) if foreign else (),
            device=_in_search(spec.device, device),
        ).write(folder)  # fmt: skip
        self._process = SearchProcess(folder, device, spec.device, self._heard)

    def _device(self) -> str:
        """Of the user's tensors."""
        examples = self.spec.examples
        if callable(examples):
            return "cuda:0" if torch.cuda.is_available() else "cpu"
        found = specs.device_of(specs.calls(examples)) or torch.device("cpu")
        return f"{found.type}:{found.index or 0}" if found.type == "cuda" else found.type

    def _new_folder(self, cache: Cache, entry: Entry | None) -> Path:
        """The run folder of an unfinished search, or a new one."""
        if self._resume is not None:
            return self._resume
        unfinished = entry is not None and not entry.finished
        if unfinished and entry is not None and (Path(entry.run_folder) / "spec.pkl").exists():
            return Path(entry.run_folder)
        base = self._folder or cache.folder / "runs"
        stem = f"optimize-{self.spec.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        number = 1
        while True:
            path = base / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return path

    def _poll(self, key: str) -> None:
        while self._cache is not None and not self._done.wait(_POLL_S):
            entry = self._cache.get(key)
            if entry is not None and (entry.verified is None or self.swap.active is None):
                WATCHER.post(lambda found=entry: self._take(found))  # type: ignore[misc]
            if entry is not None and entry.finished:
                self._end(Search.FINISHED, f"found by another process: {entry.says}")

    # -- what the search says, in the thread that listens -----------------------------------------

    def _heard(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "traced":
            self._routes = dict(event["routes"])
        elif kind in ("start", "step"):
            status = str(event["status"])
            self._tried[status] = self._tried.get(status, 0) + 1
        elif kind == "candidate" and event.get("why"):
            self._says = f"candidate {event['number']} ({event['route']}): {event['why']}"
        elif kind == "swap":
            path = Path(event["path"])
            WATCHER.post(lambda: self._swap_from(path))
        elif kind in ("finished", "refused", "failed", "died"):
            how = {"finished": Search.FINISHED, "refused": Search.REFUSED}.get(kind, Search.FAILED)
            self._end(how, str(event.get("says") or event.get("reason")))
        if self._listener is not None:
            self._listener(event)

    def _swap_from(self, path: Path) -> None:
        import pickle

        verified = pickle.loads(path.read_bytes())  # of our own process, which ran no answer
        self._adopt(verified)

    def _take(self, entry: Entry) -> None:
        if entry.verified is not None:
            self._adopt(entry.verified)

    def _adopt(self, verified: Verified) -> None:
        """Load a kernel and have it tried on the next call."""
        cache = self._cache
        if cache is None or cache.banned(verified.source):
            return
        why = objection(verified.source)
        if why is not None:
            self.swap.notes.append(f"a kernel was not loaded: {why}")
            return
        try:
            loaded = load(verified.source, verified.entry, cache.kernels, cache.compiled)
            loaded.pin(verified.choices)
            if not verified.replays and loaded.replayed is not None:
                loaded.replayed.stop()
        except Exception as error:
            self.swap.notes.append(f"a kernel cannot be loaded: {type(error).__name__}: {error}")
            return
        self._warming.took(cache.kernels, cache.compiled)
        self.swap.adopt(verified, loaded.call)

    def _ban(self, verified: Verified, why: str) -> None:
        if self._cache is not None:
            self._cache.ban(verified.source, why)
        if self._run_folder is not None and self._run_folder.exists():
            write_json(self._run_folder / "taken-back.json", {"why": why})

    def _end(self, how: Search, says: str) -> None:
        self.search, self._says = how, says
        if self._lock is not None:
            lock, self._lock = self._lock, None
            lock.__exit__(None, None, None)
        self._done.set()


def _axes(dynamic: Mapping[str, Any] | None) -> dict[str, tuple[int, ...]] | None:
    if dynamic is None:
        return None
    return {name: tuple(axes) for name, axes in sorted(dynamic.items())}


def _in_search(on: str, device: str) -> str:
    """What the search calls its device: a GPU has the name of the user's there."""
    if on == "auto":
        return device if device.startswith("cuda") else "simulated"
    if on.startswith("cuda") and device.startswith("cuda"):
        return device
    return on


_ALL: weakref.WeakSet[Optimization] = weakref.WeakSet()


def _at_exit() -> None:
    """Ban what was in use when the GPU's context was lost, and end the searches."""
    from triton_gym.optimization.swap import context_lost

    ours = [one for one in list(_ALL) if os.getpid() == one._pid]
    for one in ours:  # all of them first: each takes a while
        if one._process is not None:
            one._process.ask_to_end()
    for one in ours:
        active = one.swap.active
        if active is not None and context_lost(active.binding.device):
            one._ban(active, "the GPU's context was lost while it was in use")
            warn(
                f"The GPU's context was lost while a kernel of triton_gym.optimize answered "
                f"{one.spec.name}. The kernel is banned from now on."
            )
        one.stop()


atexit.register(_at_exit)


def check_options(*, seconds: float, share: float, shadow: float, against: str) -> None:
    """Hold the options of `optimize` against what is allowed.

    Raises:
        InvalidOptionError: one is outside.
    """
    from triton_gym.errors import unknown

    if not seconds > 0:
        raise InvalidOptionError(f"seconds must be more than 0; got {seconds}.")
    if not 0 < share <= 1:
        raise InvalidOptionError(f"share must be more than 0 and at most 1; got {share}.")
    if not 0 <= shadow <= 1:
        raise InvalidOptionError(f"shadow must be between 0 and 1; got {shadow}.")
    if against not in specs.BASELINES:
        raise unknown("against", against, specs.BASELINES)
