"""What the fault campaign does to the processes, the store and the disk of evaluators."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from triton_gym.evaluation.service import serving
from triton_gym.evaluation.workers import fork_server

SOON_S = (8.0, 20.0)
"""When the first fault of a kind comes: judges start for as long as that."""


class Processes:
    """The evaluators' processes as /proc shows them, found through their ancestors."""

    def __init__(self) -> None:
        self._root = os.getpid()
        self._seen: set[tuple[int, str]] = set()

    def kinds(self) -> dict[str, list[int]]:
        """Ids of the `judge`s, their `fork_server`s, and the `worker`s: of this program's only."""
        parents, commands, starts = {}, {}, {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                stat = (folder / "stat").read_text()
                commands[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().decode(errors="replace")
                )
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            parents[int(folder.name)], starts[int(folder.name)] = int(fields[1]), fields[19]
        found: dict[str, list[int]] = {"judge": [], "fork_server": [], "worker": []}
        for pid, command in commands.items():
            parent = parents[pid]
            if not self._ours(pid, parents):
                continue
            if serving.__name__ in command:
                found["judge"].append(pid)
            elif fork_server.__name__ in command:
                above = fork_server.__name__ in commands.get(parent, "")
                found["worker" if above else "fork_server"].append(pid)
        self._seen |= {(pid, starts[pid]) for pids in found.values() for pid in pids}
        return found

    def left(self) -> int:
        """How many of those that were seen are still there, whoever is their parent now."""
        count = 0
        for pid, start in self._seen:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            count += fields[19] == start and fields[0] != "Z"
        return count

    def _ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid in parents and pid != self._root:
            pid = parents[pid]
        return pid == self._root


def resident_bytes(pid: int) -> int:
    """Memory of a process that nobody else has."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Faults(threading.Thread):
    """Does random faults of each kind, and notes how the long-lived processes grow.

    Args:
        rng: decides when and to whom.
        pauses: mean seconds between faults of a kind: `worker`, `fork_server` and `judge` are
            killed, `stop` stops a judge, `lock` holds the store, `damage` spoils records in it,
            `disk` fills the temporary folder.
        seconds: how long a fault lasts.
        store: the file.
    """

    def __init__(
        self, rng: random.Random, pauses: dict[str, float], seconds: float, store: Path
    ) -> None:
        super().__init__(daemon=True)
        self._rng, self._pauses, self._seconds, self._store = rng, pauses, seconds, store
        # Each kind once soon, so that a short run has seen them all.
        self._next = {kind: time.monotonic() + rng.uniform(*SOON_S) for kind in pauses}
        self.processes = Processes()
        self.done = threading.Event()
        self.count: collections.Counter[str] = collections.Counter()
        self.memory: dict[str, list[tuple[int, int]]] = {"judge": [], "fork_server": []}
        self._lasting: list[threading.Thread] = []

    def run(self) -> None:
        while not self.done.wait(0.25):
            kinds = self.processes.kinds()
            for kind, samples in self.memory.items():
                samples += [(pid, resident_bytes(pid)) for pid in kinds[kind]]
            for kind, pause in self._pauses.items():
                if time.monotonic() >= self._next[kind] and self._do(kind, kinds):
                    self._next[kind] = time.monotonic() + pause * self._rng.uniform(0.5, 1.5)
                    self.count[kind] += 1
        for thread in self._lasting:
            thread.join()

    def _do(self, kind: str, kinds: dict[str, list[int]]) -> bool:
        if kind in ("lock", "damage", "disk"):
            self._last({"lock": self._lock, "damage": self._damage, "disk": self._fill}[kind])
            return True
        those = kinds["judge" if kind == "stop" else kind]
        if not those:
            return False
        pid = self._rng.choice(those)
        try:
            if kind == "stop":
                os.kill(pid, signal.SIGSTOP)
                self._last(lambda: self._go_on(pid))
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _last(self, fault: Callable[[], None]) -> None:
        thread = threading.Thread(target=fault, daemon=True)
        thread.start()
        self._lasting.append(thread)

    def _wait(self) -> None:
        self.done.wait(self._seconds)

    def _go_on(self, pid: int) -> None:
        self._wait()
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # it was killed meanwhile

    def _lock(self) -> None:
        with contextlib.suppress(sqlite3.Error), _connected(self._store) as other:
            other.execute("BEGIN EXCLUSIVE")
            self._wait()
            other.execute("ROLLBACK")

    def _damage(self) -> None:
        # On a full disk there is nothing to be damaged.
        with contextlib.suppress(sqlite3.Error), _connected(self._store) as other:
            text = self._rng.choice(["", "{", "[]", '{"status": "correct"}', "null"])
            other.execute(
                "UPDATE outcomes SET outcome = ? WHERE key IN "
                "(SELECT key FROM outcomes ORDER BY random() LIMIT 2)", (text,),
            )  # fmt: skip

    def _fill(self) -> None:
        with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:
            size = 16 << 20
            while size:
                try:
                    file.write(b"\0" * size)
                    file.flush()
                except OSError:
                    size //= 2
            self._wait()

    def growth(self) -> dict[str, float]:
        """For each kind the largest growth of one process, from its second quarter to its last.

        Of lives of a minute or more: before the second quarter a process still imports.
        """
        found = {}
        for kind, samples in self.memory.items():
            lives = collections.defaultdict(list)
            for pid, size in samples:
                lives[pid].append(size)
            long = [sizes for sizes in lives.values() if len(sizes) >= 240]
            found[kind] = max((_grown(sizes) for sizes in long), default=float("nan"))
        return found


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program at the store."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _grown(sizes: list[int]) -> float:
    quarter = len(sizes) // 4
    return statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter])
