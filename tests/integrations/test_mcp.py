"""The server of tools, through the protocol's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from triton_gym import InvalidOptionError, load
from triton_gym.integrations.tools import Guarded, KernelShelf, application, make_server

EDIT = "<<<<<<< SEARCH\nimport torch\n=======\nimport torch  # again\n>>>>>>> REPLACE\n"


async def call(client, name, **arguments):
    result = await client.call_tool(name, arguments)
    return result


def found(result):
    assert not result.is_error, result.content
    if result.structured_content is not None:
        return result.structured_content.get("result", result.structured_content)
    return json.loads(result.content[0].text)


def test_a_client_lists_evaluates_edits_and_profiles(evaluator, answers):
    async def work():
        async with Client(make_server(evaluator)) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"list_tasks", "evaluate_kernel", "edit_kernel", "profile"}
            tasks = found(await call(client, "list_tasks"))
            assert "softmax" in {task["task"] for task in tasks}
            (one,) = found(await call(client, "list_tasks", task="softmax"))
            assert one["starter"] == load("softmax").starter
            right = found(
                await call(client, "evaluate_kernel", task="softmax", kernel=answers["expert"])
            )
            assert right["status"] == "correct"
            edited = found(await call(client, "edit_kernel", kernel=right["kernel"], edit=EDIT))
            assert edited["status"] == "correct"
            assert "# again" in edited["source"]
            assert edited["kernel"] != right["kernel"]
            profile = found(await call(client, "profile", kernel=edited["kernel"]))
            assert 0 < profile["roofline"] <= 1
            assert "time_source" in profile

    asyncio.run(work())


def test_bad_input_is_answered(evaluator, answers):
    async def work():
        async with Client(make_server(evaluator)) as client:
            for kind in ("empty", "huge"):
                outcome = found(
                    await call(client, "evaluate_kernel", task="softmax", kernel=answers[kind])
                )
                assert outcome["status"] == "invalid_action"
            lost = found(await call(client, "edit_kernel", kernel="nothing", edit=EDIT))
            assert lost["status"] == "invalid_action"
            unknown = await call(client, "evaluate_kernel", task="softmx", kernel="x")
            assert unknown.is_error
            assert "softmax" in str(unknown.content)  # the nearest name
            try:
                wrong = await call(client, "submit", kernel="x")
                assert wrong.is_error
                said = str(wrong.content)
            except MCPError as error:
                said = str(error)
            assert "submit" in said
            assert (await call(client, "evaluate_kernel", kernels="x")).is_error
            prose = found(
                await call(client, "evaluate_kernel", task="softmax", kernel=answers["prose"])
            )
            assert prose["status"] != "correct"

    asyncio.run(work())


def test_two_sessions_share_kernels_and_one_that_leaves_harms_nobody(evaluator, answers):
    server = make_server(evaluator)

    async def leave():
        async with Client(server) as client:
            request = asyncio.create_task(
                call(client, "evaluate_kernel", task="softmax", kernel=answers["zeros"])
            )
            await asyncio.sleep(0.05)
            request.cancel()

    async def stay():
        async with Client(server) as client:
            outcome = await call(
                client, "evaluate_kernel", task="softmax", kernel=answers["expert"]
            )
            assert found(outcome)["status"] == "correct"

    async def both():
        await asyncio.gather(leave(), stay(), return_exceptions=False)

    asyncio.run(both())


def test_a_session_goes_on_when_its_judge_is_killed(dying, answers):
    async def work():
        async with Client(make_server(dying)) as client:
            outcome = await call(
                client, "evaluate_kernel", task="softmax", kernel=answers["expert"]
            )
            assert found(outcome)["status"] == "correct"

    asyncio.run(work())


def test_the_command_serves_over_http(answers, killed):
    """With a token; clients that have none, say too much, or leave in the middle harm nobody."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    server = subprocess.Popen(
        [sys.executable, "-m", "triton_gym", "serve", "--http", "--port", str(port),
         "--device", "simulated", "--workers", "1"],
        env={**os.environ, "TRITON_GYM_TOKEN": "secret"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    bearer = {"Authorization": "Bearer secret"}

    async def evaluated(name, leaves=False):
        async with httpx2.AsyncClient(headers=bearer, timeout=240) as http:
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport) as client:
                request = call(client, "evaluate_kernel", task="softmax", kernel=answers[name])
                if not leaves:
                    return found(await request)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(request, 0.5)

    async def work():
        async with httpx2.AsyncClient(timeout=60) as stranger:
            assert (await stranger.post(url, json={})).status_code == 401
            long = await stranger.post(url, headers=bearer, content=b"x" * 4_000_000)
            assert long.status_code == 413
        await evaluated("zeros", leaves=True)
        return await asyncio.gather(evaluated("expert"), evaluated("empty"))

    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        with killed(server.pid, pause_s=1.0):
            right, empty = asyncio.run(work())
        assert (right["status"], empty["status"]) == ("correct", "invalid_action")
    finally:
        server.terminate()
        server.wait(60)


def test_handles_are_given_up_oldest_first():
    shelf = KernelShelf(most=2)
    handles = [shelf.put("softmax", text) for text in "abc"]
    with pytest.raises(ValueError, match="any more"):
        shelf.get(handles[0])
    assert shelf.get(handles[2]) == ("softmax", "c")


def test_beyond_loopback_a_token_is_needed(evaluator):
    with pytest.raises(InvalidOptionError, match="token"):
        application(make_server(evaluator), host="0.0.0.0")


@pytest.mark.parametrize(
    ("header", "status"), [(b"", 401), (b"Bearer other", 401), (b"Bearer right", 200)]
)
def test_a_token_is_asked_for(header, status):
    async def inner(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"authorization", header)]}
    asyncio.run(Guarded(inner, "right")(scope, None, send))
    assert sent[0]["status"] == status


def test_the_command_serves_over_standard_input(answers):
    from mcp.client.stdio import StdioServerParameters

    async def work():
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "triton_gym", "serve", "--device", "simulated", "--workers", "1"],
        )
        async with Client(command) as client:
            outcome = await call(
                client, "evaluate_kernel", task="softmax", kernel=answers["expert"]
            )
            assert found(outcome)["status"] == "correct"

    asyncio.run(work())


def test_the_example(run_example):
    assert "speed of light" in run_example("mcp_agent", "--device", "simulated")
