"""What an adapter costs beside the bare evaluator, a reply.

    python benchmarks/adapters.py            # the adapters whose frameworks are installed
    python benchmarks/adapters.py --group    # a group of 16 replies beside `Evaluator.map`

An evaluator that answers at once stands for the bare one, so what is left of a reply's time is the
adapter's: the prompt, the reply's text, the environment's bookkeeping and the framework's own calls.
Frameworks pin against each other; run it in each environment of `make integrations`. Every run keeps
the rows of the adapters that it could not measure.

A group is evaluated by the simulated device itself: the same 16 kernels by `map`, by TRL's reward
function and by 16 episodes of one event loop, in turn, each with an evaluator of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any

import record

from triton_gym import Evaluator, Outcome, Status, extract, load
from triton_gym.evaluation.backends import resolve

OUT = record.RESULTS / "adapters.json"
REPLIES = 200
GROUP = 16
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
    from triton_gym.integrations.openenv import create_app

    return over_socket(create_app(evaluator=Instant(), max_turns=10**6))


def openenv_alone() -> Callable[[int], None]:
    """The same with an environment that answers at once: what is OpenEnv's own, not ours."""
    from openenv.core.env_server.http_server import create_fastapi_app

    from triton_gym.integrations import openenv as adapter

    class Nothing(adapter.KernelEnvironment):
        def reset(self, **_: Any) -> Any:
            return adapter.KernelObservation(message="", done=False, reward=0.0)

        async def step_async(self, action: Any, **_: Any) -> Any:
            return adapter.KernelObservation(message="", done=False, reward=0.0)

    return over_socket(create_fastapi_app(Nothing, adapter.KernelAction, adapter.KernelObservation))


def over_socket(app: Any) -> Callable[[int], None]:
    """A session of an OpenEnv application and its client, two threads of one process."""
    from fastapi.testclient import TestClient

    client = TestClient(app)
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
    "skyrl": (skyrl, "skyrl_gym"), "openenv": (openenv, "openenv"),
    "openenv alone": (openenv_alone, "openenv"), "verl": (verl, "verl"),
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


def by_map(evaluator: Evaluator, replies: list[str]) -> list[Outcome]:
    """The bare evaluator."""
    return list(evaluator.map(load("softmax"), [extract(reply) for reply in replies]))


def by_reward_function(evaluator: Evaluator, replies: list[str]) -> list[Any]:
    """TRL's reward function."""
    from triton_gym.integrations.trl import reward_function

    return reward_function(evaluator=evaluator)(replies, ["softmax"] * len(replies))


def by_episodes(evaluator: Evaluator, replies: list[str]) -> list[Any]:
    """Episodes of one event loop, as verifiers, verl, OpenEnv and NeMo-Gym have them."""
    from triton_gym.integrations.conversation import Conversation

    async def play(reply: str) -> Any:
        episode = Conversation("softmax", evaluator=evaluator)
        episode.open(seed=0)
        return await episode.areply(reply)

    async def together() -> list[Any]:
        return await asyncio.gather(*map(play, replies))

    return asyncio.run(together())


def group(rounds: int) -> list[dict[str, Any]]:
    """What each way takes for the same replies: by the clock, and of all processors together."""
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds):
        replies = [f"{ANSWER.replace('```python', f'```python{chr(10)}# {turn} {number}')}"
                   for number in range(GROUP)]  # fmt: skip
        for way in (by_map, by_reward_function, by_episodes):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            own = time.process_time()
            with Evaluator("simulated", workers=2) as evaluator:
                evaluator.evaluate(load("softmax"), load("softmax").starter)  # it is up
                began = time.perf_counter()
                results = way(evaluator, replies)
                wall = time.perf_counter() - began
            if len(results) != GROUP:
                raise SystemExit(f"{way.__name__} answered {len(results)} of {GROUP}")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found.setdefault(way.__name__, []).append((wall, used + time.process_time() - own))
    return [
        {
            "adapter": f"group of {GROUP}, {name}", "wall_s": [wall for wall, _ in times],
            "processor_s_with_start": [used for _, used in times],
            "commit": record.header()["commit"],
        }
        for name, times in found.items()
    ]  # fmt: skip


def main() -> None:
    """Measure what is installed, and write the rows beside those of other runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", type=int, nargs="?", const=3, default=0, metavar="ROUNDS")
    parser.add_argument("--only", nargs="*", default=list(ADAPTERS), choices=list(ADAPTERS))
    given = parser.parse_args()
    old = json.loads(OUT.read_text(encoding="utf-8"))["rows"] if OUT.exists() else []
    rows = {row["adapter"]: row for row in old}
    for row in group(given.group):
        rows[row["adapter"]] = row
        print(row["adapter"], row["wall_s"], row["processor_s_with_start"])
    for name in [] if given.group else given.only:
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
