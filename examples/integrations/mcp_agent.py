"""A coding agent's side of `triton-gym serve`: list, evaluate, profile.

python mcp_agent.py --device simulated
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters


async def work(device: str, task: str) -> None:
    """Evaluate a task's plain kernel and say what bounds it."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "triton_gym", "serve", "--device", device]
    )
    async with Client(command) as client:

        async def call(name: str, **arguments: Any) -> Any:
            result = await client.call_tool(name, arguments)
            found = result.structured_content or json.loads(result.content[0].text)
            return found.get("result", found)

        (about,) = await call("list_tasks", task=task)
        outcome = await call("evaluate_kernel", task=task, kernel=about["starter"])
        print(f"{about['title']}: {outcome['status']}, {outcome['speedup']:.2f} times PyTorch")
        profile = await call("profile", kernel=outcome["kernel"])
        print(f"{profile['roofline']:.0%} of the speed of light, bound by {profile['bound']}")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="auto")
    parser.add_argument("--task", default="softmax")
    given = parser.parse_args()
    asyncio.run(work(given.device, given.task))


if __name__ == "__main__":
    main()
