"""verifiers' evaluation of a model over kernels, one of the environment package's settings a line.

python verifiers_eval.py --model Qwen/Qwen2.5-Coder-7B-Instruct --base-url http://localhost:8000/v1
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "environments" / "triton_kernels"
"""Two lines of Python; `pip install` it, or put it on the path as is done here."""


def main() -> None:
    """Evaluate, and print each row's reward and statuses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--base-url", default="http://localhost:8000/v1")
    parser.add_argument("--tasks", default="softmax,layer_norm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tries", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/verifiers"))
    given = parser.parse_args()
    tasks = given.tasks.split(",")
    binaries = Path(sys.executable).parent
    command = [
        binaries / "vf-eval", "triton_kernels", "-m", given.model,
        "--client.base-url", given.base_url, "--client.api-key-var", "OPENAI_API_KEY",
        "--env.taskset.tasks", json.dumps(tasks), "--env.taskset.device", given.device,
        "--env.taskset.max-turns", str(given.turns), "--env.agent.runtime.type", "subprocess",
        "-n", str(len(tasks)), "-r", str(given.tries), "--no-push", "--no-rich",
        "-o", str(given.out), "--run.name", "kernels",
    ]  # fmt: skip
    variables = {
        "OPENAI_API_KEY": "none", **os.environ, "PYTHONPATH": str(PACKAGE),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    subprocess.run(command, check=True, env=variables)
    for path in given.out.rglob("traces.jsonl"):
        for line in path.read_text().splitlines():
            for trace in json.loads(line).get("traces") or [json.loads(line)]:
                kernels = (trace.get("info") or {}).get("kernels", {})
                print(f"rewards {kernels.get('rewards')}, {kernels.get('statuses')}")


if __name__ == "__main__":
    main()
