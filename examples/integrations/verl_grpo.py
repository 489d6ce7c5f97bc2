"""verl's GRPO on kernels: writes the data and the agent loop's file, then starts its trainer.

python verl_grpo.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct --tasks softmax,layer_norm
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from datasets import Dataset

from triton_gym.integrations.conversation import Conversation

LOOP = """- name: triton_kernel
  _target_: triton_gym.integrations.verl.KernelAgentLoop
  kernel_options: {{device: {device}, reward: kevin, max_turns: 4}}
"""


def main() -> None:
    """Write two files, and train with them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="Qwen/Qwen2.5-Coder-1.5B-Instruct")
    parser.add_argument("--tasks", default="softmax,layer_norm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/verl"))
    parser.add_argument(
        "--config", action="store_true", help="print verl's settings, train nothing"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    loop, data = given.out / "loops.yaml", given.out / "train.parquet"
    loop.write_text(LOOP.format(device=given.device))
    rows = [
        {"data_source": "triton-gym", "prompt": Conversation(task, device="simulated").open(),
         "reward_model": {"style": "rule", "ground_truth": ""},
         "extra_info": {"task": task, "seed": seed}}
        for task in given.tasks.split(",") for seed in range(64)
    ]  # fmt: skip
    Dataset.from_list(rows).to_parquet(data)
    rollout = "actor_rollout_ref.rollout"
    settings = [
        "algorithm.adv_estimator=grpo", f"data.train_files={data}", f"data.val_files={data}",
        "data.return_raw_chat=True", "data.max_response_length=8192",
        f"actor_rollout_ref.model.path={given.model}", f"{rollout}.mode=async", f"{rollout}.n=8",
        f"{rollout}.agent.default_agent_loop=triton_kernel",
        f"{rollout}.agent.agent_loop_config_path={loop}",
    ]  # fmt: skip
    shown = ["--cfg", "job", "--resolve"] if given.config else []
    subprocess.run([sys.executable, "-m", "verl.trainer.main_ppo", *settings, *shown], check=True)


if __name__ == "__main__":
    main()
