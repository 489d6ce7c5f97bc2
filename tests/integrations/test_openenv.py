"""OpenEnv: the served environment over HTTP and WebSocket, and its own validation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from triton_gym.integrations.openenv import create_app

PACKAGE = Path(__file__).parents[2] / "examples" / "environments" / "openenv"


@pytest.fixture(scope="module")
def client(evaluator):
    with TestClient(create_app(evaluator=evaluator, max_turns=2)) as made:
        yield made


def talk(socket, kind, **data):
    socket.send_text(json.dumps({"type": kind, **({"data": data} if data else {})}))
    return json.loads(socket.receive_text())


def test_an_episode_over_a_socket(client, answers):
    with client.websocket_connect("/ws") as socket:
        opened = talk(socket, "reset", task="softmax", seed=0)["data"]
        assert "softmax" in opened["observation"]["message"]
        wrong = talk(socket, "step", reply=answers["zeros"])["data"]
        assert (wrong["reward"], wrong["done"]) == (0.0, False)
        right = talk(socket, "step", reply=answers["expert"])["data"]
        assert right["observation"]["status"] == "correct"
        assert right["reward"] > 0.3
        assert right["done"]
        state = talk(socket, "state")["data"]
        assert (state["task"], state["step_count"]) == ("softmax", 2)


def test_bad_input_is_an_answer_and_the_session_goes_on(client, answers):
    with client.websocket_connect("/ws") as socket:
        assert talk(socket, "reset", task="softmx")["type"] == "error"
        talk(socket, "reset", task="softmax")
        assert talk(socket, "step", reply=answers["huge"])["type"] == "error"
        assert talk(socket, "step", words="x")["type"] == "error"
        empty = talk(socket, "step", reply="")["data"]
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


def test_tasks_are_discovered(client):
    found = client.get("/triton-gym/splits")
    assert found.status_code == 200, found.text
    assert "catalogue" in found.text


def test_openenv_validates_the_package():
    done = subprocess.run(
        [Path(sys.executable).parent / "openenv", "validate", str(PACKAGE), "--level", "static",
         "--skip-build"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example(run_example):
    assert "correct, reward" in run_example("openenv_client", "--device", "simulated")
