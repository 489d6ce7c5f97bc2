"""OpenEnv: the served environment over HTTP and WebSocket, and its own validation."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from triton_gym.integrations.openenv import create_app

PACKAGE = Path(__file__).parents[2] / "examples" / "environments" / "openenv"


@pytest.fixture(scope="module")
def client(evaluator):
    with TestClient(create_app(evaluator=evaluator, max_turns=2)) as made:
        yield made


def talk(session, kind, **data):
    session.send_text(json.dumps({"type": kind, **({"data": data} if data else {})}))
    return json.loads(session.receive_text())


def test_an_episode_over_a_socket(client, answers):
    with client.websocket_connect("/ws") as session:
        opened = talk(session, "reset", task="softmax", seed=0)["data"]
        assert "softmax" in opened["observation"]["message"]
        wrong = talk(session, "step", reply=answers["zeros"])["data"]
        assert (wrong["reward"], wrong["done"]) == (0.0, False)
        right = talk(session, "step", reply=answers["expert"])["data"]
        assert right["observation"]["status"] == "correct"
        assert right["reward"] > 0.3
        assert right["done"]
        state = talk(session, "state")["data"]
        assert (state["task"], state["step_count"]) == ("softmax", 2)


def test_bad_input_is_an_answer_and_the_session_goes_on(client, answers):
    with client.websocket_connect("/ws") as session:
        assert talk(session, "reset", task="softmx")["type"] == "error"
        talk(session, "reset", task="softmax")
        assert talk(session, "step", reply=answers["huge"])["type"] == "error"
        assert talk(session, "step", words="x")["type"] == "error"
        assert talk(session, "call_tool", name="nonsense")["type"] == "error"
        session.send_text("{")
        assert json.loads(session.receive_text())["type"] == "error"
        empty = talk(session, "step", reply="")["data"]
        assert empty["observation"]["status"] == "invalid_action"


def test_sessions_are_apart_and_one_may_leave(client, answers):
    with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as two:
        talk(one, "reset", task="softmax")
        talk(two, "reset", task="sum_rows")
        one.close()
        assert talk(two, "state")["data"]["task"] == "sum_rows"


def test_a_client_that_leaves_while_its_reply_is_evaluated(client, answers):
    with client.websocket_connect("/ws") as leaving:
        talk(leaving, "reset", task="softmax")
        step = {"type": "step", "data": {"reply": answers["expert"]}}
        leaving.send_text(json.dumps(step))
    with client.websocket_connect("/ws") as staying:
        talk(staying, "reset", task="softmax")
        right = talk(staying, "step", reply=answers["expert"])["data"]
        assert right["observation"]["status"] == "correct"


def test_two_sessions_are_evaluated_at_once(client, answers):
    step = json.dumps({"type": "step", "data": {"reply": answers["expert"]}})
    with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as two:
        for session in (one, two):
            talk(session, "reset", task="softmax", seed=1)
        for session in (one, two):
            session.send_text(step)
        for session in (two, one):
            found = json.loads(session.receive_text())["data"]
            assert found["observation"]["status"] == "correct"


def test_a_session_goes_on_when_its_judge_is_killed(dying, answers):
    app = create_app(evaluator=dying)
    with TestClient(app) as client, client.websocket_connect("/ws") as session:
        talk(session, "reset", task="softmax")
        right = talk(session, "step", reply=answers["expert"])["data"]
        assert right["observation"]["status"] == "correct"


def test_tasks_are_discovered(client):
    found = client.get("/triton-gym/splits")
    assert found.status_code == 200, found.text
    assert "catalogue" in found.text


def test_the_oracle_earns_the_most_and_doing_nothing_is_the_floor(evaluator):
    """What the package's manifest declares; 0.10's own graders of it are not implemented yet."""
    declared = yaml.safe_load((PACKAGE / "openenv.yaml").read_text())["validation"]
    reward, oracle = declared["reward"], declared["capabilities"]["oracle"]
    assert oracle["form"] == "injected_state"
    state = json.loads((PACKAGE / oracle["location"]).read_text())
    app = create_app(evaluator=evaluator, reward="autotriton")
    with TestClient(app) as client, client.websocket_connect("/ws") as session:
        most = reward["range"][1]
        floor = talk(session, "reset", task="softmax", seed=0)["data"]["reward"]
        assert most - floor >= reward["floor_margin"]
        reached = talk(session, "reset", injected_state=state, seed=0)["data"]
        assert reached["observation"]["status"] == "correct"
        assert reached["reward"] >= most - reward["oracle_tolerance"]
        assert talk(session, "state")["data"]["step_count"] == 1
        assert talk(session, "reset", injected_state={"kernel": 3})["type"] == "error"


def validated(*arguments):
    done = subprocess.run(
        [Path(sys.executable).parent / "openenv", "validate", *arguments, "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_openenv_validates_the_package():
    report = validated(str(PACKAGE), "--skip-build")  # all levels
    found = {result["check_id"]: result["status"] for result in report["results"]}
    assert found["static.manifest"] == "pass"
    assert set(found.values()) == {"pass", "skip"}


def test_openenv_validates_the_server_without_docker(tmp_path):
    """The package's own server as a process, on a free port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "server.app", "--port", str(port)], cwd=PACKAGE,
        env={**os.environ, "TRITON_GYM_DEVICE": "simulated"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        assert validated("--url", f"http://127.0.0.1:{port}")["passed"]
    finally:
        server.terminate()
        server.wait(30)


def test_the_example(run_example):
    assert "correct, reward" in run_example("openenv_client", "--device", "simulated")
