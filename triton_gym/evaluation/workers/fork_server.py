"""The parent of all workers: a process that has imported torch and Triton and forks on request.

It never touches CUDA, because a process that has cannot be forked. It runs no answer itself: it
forks, watches what its workers use, and ends them with all that they started.

Run as `python -m triton_gym.evaluation.workers.fork_server <fd> <orders>`; see
`fork_server_client.ForkServerClient`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.confine import family, privileges
from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.exchange.channel import Channel, ChannelClosed, ChannelTimeout
from triton_gym.evaluation.workers.sandbox import Sandbox, detach
from triton_gym.evaluation.workers.scratch import remove_returned

TICK_S = 0.25
"""How often living workers are looked at."""
ROLES = {
    "lower": "triton_gym.evaluation.compiling.server",
    "simulate": "triton_gym.evaluation.backends.simulated.server",
    "run": "triton_gym.evaluation.backends.cuda.runner",
    "record": "triton_gym.evaluation.recording.worker",
}
"""What workers do, by mode: a module with `prepare` and `main`."""


@dataclass(slots=True)
class WorkerState:
    """A worker as its fork server knows it."""

    processes: int
    host_bytes: int
    status: int | None = None
    """How it ended, as of waitpid; None while it runs."""
    reason: str = ""
    """Why the fork server ended it."""


class ForkServer:
    """Forks workers and answers for their end."""

    def __init__(
        self, channel: Channel, sandbox: Sandbox, work: Callable[[Channel, Sandbox], None]
    ) -> None:
        self._channel = channel
        self._sandbox = sandbox
        self._work = work
        self._workers: dict[int, WorkerState] = {}
        self._dying: set[int] = set()
        self._pid = os.getpid()
        self._inherited_bytes = family.memory_bytes()

    def serve(self) -> None:
        """Obey until the judge hangs up, then end everything.

        Raises:
            ChannelClosed: the judge has hung up.
        """
        try:
            while True:
                self._reap()
                # What a worker left may come here when the last one is gone, and leave more.
                busy = (
                    self._kill_strays()
                    or self._dying
                    or any(worker.status is None for worker in self._workers.values())
                )
                try:
                    request = self._channel.receive(TICK_S if busy else None)
                except ChannelTimeout:
                    self._watch()
                    continue
                operation = getattr(self, "do_" + request.pop("op"))
                self._channel.send(operation(**request))
        finally:
            for pid in [*self._workers, *self._dying]:
                self._kill(pid)
            self._reap(wait=True)

    def do_fork(self, processes: int, host_bytes: int, fds: tuple[int, ...] = ()) -> dict[str, Any]:
        """A new worker, which speaks over the socket that came along."""
        if not fds:
            return {"error": "too many open files"}
        try:
            pid = os.fork()
        except OSError as error:
            return {"error": str(error)}
        finally:
            if os.getpid() == self._pid:
                os.close(fds[0])
        if pid == 0:
            self._become_worker(fds[0])
        self._workers[pid] = WorkerState(processes, host_bytes)
        return {"pid": pid}

    def do_status(self, pid: int) -> dict[str, Any]:
        """How a worker ended, if it has."""
        worker = self._workers.get(pid)
        if worker is None:
            return {"status": 0, "reason": "It was no longer needed."}
        return {"status": worker.status, "reason": worker.reason}

    def do_end(self, pid: int) -> dict[str, Any]:
        """Kill a worker with all that it started, and forget it."""
        if pid not in self._workers:
            return {}
        self._kill(pid)
        if self._workers.pop(pid).status is None:
            self._dying.add(pid)
        return {}

    def _become_worker(self, fd: int) -> None:
        try:
            self._channel.close()
            detach(fd, self._pid)
            self._work(Channel(socket.socket(fileno=fd), takes_files=True), self._sandbox)
        finally:
            os._exit(0)  # nothing that the answer left behind may run on

    def _kill(self, pid: int) -> None:
        worker = self._workers.get(pid)
        if worker is None or worker.status is None:  # a number that was reaped can be another's
            family.kill_group(pid)

    def _reap(self, *, wait: bool = False) -> None:
        """Take note of what has ended: workers, and the orphans that they left to this process."""
        while True:
            options = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
            try:
                ended = os.waitid(os.P_ALL, 0, options)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid in self._workers or pid in self._dying:
                family.kill_group(pid)  # what it leaves behind, while its number is still its own
            status = os.waitpid(pid, 0)[1]
            self._dying.discard(pid)
            if pid in self._workers:
                self._workers[pid].status = status
            if wait:
                self._kill_strays()

    def _watch(self) -> None:
        """End who uses more than allowed."""
        for pid, worker in self._workers.items():
            if worker.status is not None:
                continue
            used = family.usage(pid, self._inherited_bytes)
            if used.processes > worker.processes:
                worker.reason = (
                    f"It ran {used.processes} processes and threads; "
                    f"{worker.processes} are allowed."
                )
            elif used.host_bytes > worker.host_bytes:
                worker.reason = (
                    f"It used {used.host_bytes >> 20} MiB of the host's memory; "
                    f"{worker.host_bytes >> 20} MiB are allowed."
                )
            if worker.reason:
                self._kill(pid)

    def _kill_strays(self) -> bool:
        """Kill children that this process did not start: orphans of workers, whoever made them.

        Returns:
            Whether there were any.
        """
        strays = set(family.children(self._pid)) - self._workers.keys() - self._dying
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(strays)


def _serve(channel: Channel, mode: str, layers: list[str], granted: list[str]) -> None:
    privileges.hide()
    privileges.adopt_orphans()
    try:
        work = _prepared(mode)
    except FileNotFoundError:
        if os.path.isdir(tempfile.gettempdir()):
            raise
        return  # the judge died meanwhile, and its folder went with it
    sandbox = Sandbox.make(layers=frozenset(map(Layer, layers)), granted=tuple(granted))
    try:
        channel.send({"ready": True})
        ForkServer(channel, sandbox, work).serve()
    except ChannelClosed:
        pass  # the judge went away


def _prepared(mode: str) -> Callable[[Channel, Sandbox], None]:
    """Import what workers need, and return what they do."""
    role = importlib.import_module(ROLES[mode])
    role.prepare()
    work: Callable[[Channel, Sandbox], None] = role.main
    return work


if __name__ == "__main__":
    try:
        _serve(
            Channel(socket.socket(fileno=int(sys.argv[1])), takes_files=True),
            **json.loads(sys.argv[2]),
        )
    finally:
        remove_returned(os.environ["TMPDIR"])
    os._exit(0)  # there is nothing to save, and taking torch and Triton down takes time
