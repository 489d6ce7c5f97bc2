"""Serve episodes with OpenEnv on loopback and play one as a client.

python openenv_client.py --device simulated
"""

from __future__ import annotations

import argparse
import json

from fastapi.testclient import TestClient

from triton_gym import load
from triton_gym.integrations.openenv import create_app


def main() -> None:
    """Play a task's plain kernel over the protocol, without a port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="auto")
    parser.add_argument("--task", default="softmax")
    given = parser.parse_args()
    app = create_app(device=given.device, max_turns=1)
    with TestClient(app) as client, client.websocket_connect("/ws") as socket:
        socket.send_text(json.dumps({"type": "reset", "data": {"task": given.task, "seed": 0}}))
        print(json.loads(socket.receive_text())["data"]["observation"]["message"])
        reply = f"```python\n{load(given.task).starter}\n```"
        socket.send_text(json.dumps({"type": "step", "data": {"reply": reply}}))
        step = json.loads(socket.receive_text())["data"]
    print(f"{step['observation']['status']}, reward {step['reward']:.2f}")


if __name__ == "__main__":
    main()
