"""What an adapter costs beside the bare evaluator, a reply.

    python benchmarks/adapters.py            # the adapters whose frameworks are installed

An evaluator that answers at once stands for the bare one, so what is left of a reply's time is the
adapter's: the prompt, the reply's text, the environment's bookkeeping and the framework's own calls.
Frameworks pin against each other; run it in each environment of `make integrations`. Every run keeps
the rows of the adapters that it could not measure.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import record

from triton_gym import Outcome, Status, load
from triton_gym.evaluation.backends import resolve

OUT = record.RESULTS / "adapters.json"
REPLIES = 200
ANSWER = f"Here it is:\n```python\n{load('softmax').expert}\n```\n"
ANSWERED = Outcome(
    status=Status.CORRECT, message="Correct.", compiled=True, runtime_us=50.0, baseline_us=80.0,
    runtime_low_us=49.0, runtime_high_us=51.0, speedup=1.6, roofline=0.8, coverage=1.0,
)  # fmt: skip


class Instant:
    """An evaluator whose outcome is known: nothing of its own takes time."""

    device, deterministic = resolve("simulated"), False

    def describe(self) -> str:
        """As an evaluator names its device."""
        return str(self.device)

    def evaluate(self, task: Any, source: str, **options: Any) -> Outcome:
        """The outcome."""
        return ANSWERED

    def map(self, tasks: Any, sources: Any, **options: Any) -> Iterator[Outcome]:
        """The outcome of each."""
        return (ANSWERED for _ in sources)

    def submit(self, task: Any, source: str, **options: Any) -> Future[Outcome]:
        """A future that is done."""
        future: Future[Outcome] = Future()
        future.set_result(ANSWERED)
        return future


def conversation() -> Callable[[int], None]:
    """What all but the batched ones are made of."""
    from triton_gym.integrations.conversation import Conversation

    episode = Conversation("softmax", evaluator=Instant(), max_turns=10**6)
    episode.open(seed=0)
    return lambda number: episode.reply(f"{ANSWER}{number}") and None


def trl() -> Callable[[int], None]:
    """TRL's reward function, a batch of one."""
    from triton_gym.integrations.trl import reward_function

    reward = reward_function(evaluator=Instant())
    return lambda number: reward([f"{ANSWER}{number}"], task=["softmax"]) and None


def trl_tools() -> Callable[[int], None]:
    """TRL's tools."""
    from triton_gym.integrations.trl import KernelTools

    tools = KernelTools(evaluator=Instant(), max_turns=10**6)
    tools.reset(task="softmax")
    return lambda number: tools.submit_kernel(f"{ANSWER}{number}") and None


def skyrl() -> Callable[[int], None]:
    """SkyRL-gym's environment."""
    import skyrl_gym

    from triton_gym.integrations.skyrl import register

    options = {"evaluator": Instant(), "max_turns": 10**6}
    env = skyrl_gym.make(register(), env_config=options, extras={"task": "softmax"})
    env.init([])
    return lambda number: env.step(f"{ANSWER}{number}") and None


def openenv() -> Callable[[int], None]:
    """OpenEnv's environment, over its WebSocket in one process."""
    from fastapi.testclient import TestClient

    from triton_gym.integrations.openenv import create_app

    client = TestClient(create_app(evaluator=Instant(), max_turns=10**6))
    socket = client.__enter__().websocket_connect("/ws").__enter__()

    def say(kind: str, **data: Any) -> None:
        socket.send_text(json.dumps({"type": kind, "data": data}))
        socket.receive_text()

    say("reset", task="softmax")
    return lambda number: say("step", reply=f"{ANSWER}{number}")


def verl() -> Callable[[int], None]:
    """verl's reward function."""
    from triton_gym.integrations import verl as adapter

    adapter.evaluator_for = lambda device: Instant()
    row = {"task": "softmax"}
    return lambda number: adapter.compute_score("", f"{ANSWER}{number}", None, row) and None


def nemo_gym() -> Callable[[int], None]:
    """NeMo-Gym's resource server, its calls without HTTP."""
    from triton_gym.integrations.nemo_gym import KernelResource

    class Server(KernelResource):
        kernel_options = {"evaluator": Instant(), "max_turns": 10**6}  # noqa: RUF012

    server, loop = Server(), asyncio.new_event_loop()
    loop.run_until_complete(server.reset({"task": "softmax"}, "one"))

    def say(number: int) -> None:
        loop.run_until_complete(server.step(f"{ANSWER}{number}", {}, "one"))

    return say


def mcp() -> Callable[[int], None]:
    """The server of tools, over the protocol in one process."""
    from mcp.client import Client

    from triton_gym.integrations.tools import make_server

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(Client(make_server(Instant())).__aenter__())  # type: ignore[arg-type]

    def say(number: int) -> None:
        arguments = {"task": "softmax", "kernel": f"{ANSWER}{number}"}
        call: Awaitable[Any] = client.call_tool("evaluate_kernel", arguments)
        loop.run_until_complete(call)

    return say


ADAPTERS = {
    "conversation": (conversation, ""), "trl": (trl, "trl"), "trl tools": (trl_tools, "trl"),
    "skyrl": (skyrl, "skyrl_gym"), "openenv": (openenv, "openenv"), "verl": (verl, "verl"),
    "nemo_gym": (nemo_gym, ""), "mcp": (mcp, "mcp"),
}  # fmt: skip
"""Each with the framework that it needs."""


def measure(adapter: Callable[[], Callable[[int], None]]) -> tuple[list[float], list[float]]:
    """Milliseconds of each reply, by the clock and of processors; the first ones are left out."""
    say = adapter()
    wall, processor = [], []
    for number in range(REPLIES + 20):
        began, used = time.perf_counter(), time.process_time()
        say(number)
        wall.append((time.perf_counter() - began) * 1e3)
        processor.append((time.process_time() - used) * 1e3)
    return wall[20:], processor[20:]


def main() -> None:
    """Measure what is installed, and write the rows beside those of other runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(ADAPTERS), choices=list(ADAPTERS))
    given = parser.parse_args()
    old = json.loads(OUT.read_text(encoding="utf-8"))["rows"] if OUT.exists() else []
    rows = {row["adapter"]: row for row in old}
    for name in given.only:
        adapter, framework = ADAPTERS[name]
        if framework and importlib.util.find_spec(framework) is None:
            print(f"{name:14s} {framework} is not installed")
            continue
        times, processor = measure(adapter)
        used = statistics.median(processor)
        low, *_, high = statistics.quantiles(times, n=20)
        median = statistics.median(times)
        rows[name] = {
            "adapter": name, "ms": median, "p5_ms": low, "p95_ms": high, "replies": len(times),
            "processor_ms": used,
            "commit": record.header()["commit"],
        }  # fmt: skip
        print(
            f"{name:14s} {median:.2f} ms a reply [{low:.2f}, {high:.2f}], {used:.2f} of a processor"
        )
    record.write(OUT, list(rows.values()))


if __name__ == "__main__":
    main()
