"""What a search leaves on disk, so that one that was ended goes on where it stood.

Every file is written whole and then renamed: whatever ends the process, and whenever, the folder
holds what it held before or what it holds after.
"""

from __future__ import annotations

import json
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle

from triton_gym.optimization.binding import Verified
from triton_gym.outcome import Outcome, to_json
from triton_gym.runs.folder import write_whole


class SearchFolder:
    """A search's folder.

    Args:
        path: holds the spec, and what an earlier process of this search left.
        began: when this process did, by `time.monotonic()`; now if None.
    """

    def __init__(self, path: Path, began: float | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()  # trials go on beside the search
        self.began = time.monotonic() if began is None else began
        self.state = self._read()
        """`spent` seconds, the `digest` of what was traced, `candidates` by source and what became
        of them, the `starts` that were chosen."""
        self.spent_before: float = self.state["spent"]
        self.candidates: dict[str, dict[str, Any]] = self.state["candidates"]

    def of(self, digest: str) -> None:
        """Say which traced function it is about: what was found of another one says nothing."""
        if self.state.get("digest", digest) != digest:
            self.candidates.clear()
            self.state.pop("starts", None)
        self.state["digest"] = digest

    @property
    def active_file(self) -> Path:
        """Holds the kernel that was handed over last."""
        return self.path / "active.pkl"

    def of_agent(self, agent: str) -> Path:
        """The run folder of an agent."""
        return self.path / agent.replace(":", ".").replace("/", "_")

    def remember(self, **changes: Any) -> None:
        """Write the state, changed."""
        with self._lock:
            self.state.update(changes)
            write_whole(self.path / "search.json", json.dumps(self.state))

    def tried(self, source: str, found: dict[str, Any]) -> None:
        """Note what became of a candidate."""
        with self._lock:
            self.candidates[source] = found
        self.remember()

    def spend(self) -> None:
        """Note the time that was spent so far."""
        self.remember(spent=self.spent_before + time.monotonic() - self.began)

    def write_best(self, source: str, outcome: Outcome) -> None:
        """Leave the best answer so far for the user."""
        write_whole(self.path / "best.py", source)
        write_whole(self.path / "best.json", json.dumps(to_json(outcome), indent=1))

    def write_trial(self, content: dict[str, Any]) -> None:
        """Leave what the process that tries candidates needs."""
        write_whole(self.path / "trial.pkl", cloudpickle.dumps(content))

    def write_active(self, verified: Verified) -> None:
        """Leave a kernel that is handed over."""
        write_whole(self.active_file, pickle.dumps(verified))

    def active(self) -> Verified | None:
        """The kernel that an earlier process handed over."""
        if not self.active_file.exists():
            return None
        found: Verified = pickle.loads(self.active_file.read_bytes())
        return found

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"spent": 0.0, "candidates": {}}
        try:
            text = (self.path / "search.json").read_text(encoding="utf-8")
            found: dict[str, Any] = empty | json.loads(text)
        except (OSError, ValueError):
            return empty
        return found
