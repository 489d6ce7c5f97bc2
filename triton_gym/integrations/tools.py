"""A server of tools for coding agents (Model Context Protocol): `triton-gym serve`.

    triton-gym serve                            # over standard input and output
    triton-gym serve --http --port 8000         # on loopback; elsewhere it needs a token

Tools: `list_tasks`, `evaluate_kernel`, `edit_kernel`, `profile`. Kernels that were evaluated have
a handle, the hash of their text; any session may use it, so none can lose another's work.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from collections import OrderedDict
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import triton_gym
from triton_gym.action import LIMIT, InvalidAction, extract
from triton_gym.errors import EvaluatorError, TritonGymError
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.observation import task_text
from triton_gym.outcome import Outcome, Status
from triton_gym.registration import task_of
from triton_gym.task import Task

KERNELS = 4096
"""Evaluated kernels that are kept, the least recently used given up first."""
MOST_BYTES = 16 * LIMIT
"""Longest request over HTTP."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PROFILE = (
    "status", "message", "runtime_us", "runtime_low_us", "runtime_high_us", "baseline_us",
    "speedup", "roofline", "gbps", "tflops", "bound", "coverage", "registers", "spills",
    "shared_bytes", "time_source",
)  # fmt: skip
"""What `profile` tells of an outcome."""


class KernelShelf:
    """Kernels by handle; safe for use from several threads."""

    def __init__(self, most: int = KERNELS) -> None:
        self._most = most
        self._held: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, task: str, source: str) -> str:
        """Keep a kernel, and its handle."""
        handle = hashlib.sha256(f"{task}\0{source}".encode()).hexdigest()[:16]
        with self._lock:
            self._held[handle] = (task, source)
            self._held.move_to_end(handle)
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        return handle

    def get(self, handle: str) -> tuple[str, str]:
        """Task and source of a handle.

        Raises:
            InvalidAction: it is unknown.
        """
        with self._lock:
            if handle not in self._held:
                raise InvalidAction(
                    f"There is no kernel {handle!r} here (any more); evaluate_kernel gives handles."
                )
            self._held.move_to_end(handle)
            return self._held[handle]


def make_server(evaluator: Evaluator, baseline: str = "eager") -> MCPServer:
    """The server with its tools.

    Args:
        evaluator: where kernels are evaluated. Calls of all sessions share it.
        baseline: what a speedup is against; see `Evaluator.submit`.
    """
    server = MCPServer("triton-gym", instructions=(
        "Work on GPU kernels in Triton: list_tasks says what there is, evaluate_kernel compiles, "
        "tests and profiles a module, edit_kernel changes one that was evaluated."
    ))  # fmt: skip
    shelf = KernelShelf()

    async def judged(task: Task, source: str) -> dict[str, Any]:
        try:
            future = evaluator.submit(task, source, baseline=baseline, wait=False)
            try:
                outcome = await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                future.cancel()  # the client is gone
                raise
        except EvaluatorError as error:  # too much asked at once, or a judge that cannot go on
            raise ToolError(str(error)) from None
        return {"kernel": shelf.put(task.name, source), **told(outcome)}

    @server.tool()  # type: ignore[untyped-decorator]
    async def list_tasks(tag: str = "", task: str = "") -> list[dict[str, str]]:
        """The tasks, or one of them in full: statement, signature and a plain correct kernel.

        Args:
            tag: only tasks with this tag.
            task: the name of one, for its statement and starter kernel.
        """
        if task:
            one = _task(task)
            return [{
                "task": one.name, "title": one.title, "statement": task_text(one, "kernel"),
                "starter": one.starter,
            }]  # fmt: skip
        names = triton_gym.tasks(tag=tag) if tag else triton_gym.tasks()
        return [{"task": name, "title": task_of(name).title} for name in names]

    @server.tool()  # type: ignore[untyped-decorator]
    async def evaluate_kernel(task: str, kernel: str) -> dict[str, Any]:
        """Compile, test and profile a Triton kernel; see `list_tasks` for what is asked.

        Args:
            task: name of the task.
            kernel: a whole Python module, or a reply with one fenced block.
        """
        one = _task(task)
        try:
            source = extract(kernel, one)
        except InvalidAction as invalid:
            return told(Outcome(status=Status.INVALID_ACTION, message=str(invalid)))
        return await judged(one, source)

    @server.tool()  # type: ignore[untyped-decorator]
    async def edit_kernel(kernel: str, edit: str) -> dict[str, Any]:
        """Change a kernel that was evaluated, then compile, test and profile it.

        Args:
            kernel: its handle, from the result of evaluate_kernel or edit_kernel.
            edit: SEARCH/REPLACE blocks or a unified diff.
        """
        try:
            name, source = shelf.get(kernel)
            changed = extract(edit, current=source)
        except InvalidAction as invalid:
            return told(Outcome(status=Status.INVALID_ACTION, message=str(invalid)))
        return {**await judged(_task(name), changed), "source": changed}

    @server.tool()  # type: ignore[untyped-decorator]
    async def profile(kernel: str) -> dict[str, Any]:
        """What bounds a kernel: time with interval, speed of light reached, registers, spills.

        Args:
            kernel: its handle, from the result of evaluate_kernel or edit_kernel.
        """
        try:
            name, source = shelf.get(kernel)
        except InvalidAction as invalid:
            return told(Outcome(status=Status.INVALID_ACTION, message=str(invalid)))
        found = await judged(_task(name), source)
        return {key: found[key] for key in ("kernel", *PROFILE) if key in found}

    return server


def told(outcome: Outcome) -> dict[str, Any]:
    """An outcome's `info` as JSON has it: no NaN."""
    return {
        key: None if isinstance(value, float) and value != value else value
        for key, value in outcome.info().items()
    }


def application(server: MCPServer, *, host: str, token: str = "") -> Any:
    """The server as an ASGI application over HTTP, behind a bearer token if there is one.

    Raises:
        InvalidOptionError: `host` is not loopback and there is no token.
    """
    check_exposure(host, token)
    app = server.streamable_http_app(host=host, max_request_body_size=MOST_BYTES)
    return Guarded(app, token) if token else app


def check_exposure(host: str, token: str) -> None:
    """Who can reach the machine can have it compile and run code: ask for a token.

    Raises:
        InvalidOptionError: `host` is not loopback and there is no token.
    """
    if host not in LOOPBACK and not token:
        raise triton_gym.InvalidOptionError(
            f"host={host!r} can be reached from other machines: set a token "
            "(--token, or the variable TRITON_GYM_TOKEN), or use 127.0.0.1."
        )


class Guarded:
    """An ASGI application that answers 401 without `Authorization: Bearer <token>`."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b"A bearer token is needed."})
                return
        await self._app(scope, receive, send)


def _task(name: str) -> Task:
    try:
        return task_of(name)
    except TritonGymError as error:
        raise ToolError(str(error)) from None  # what the client is told
