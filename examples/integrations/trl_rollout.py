"""TRL's GRPOTrainer with episodes of several turns: feedback is the user's next message.

python trl_rollout.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct --tasks softmax,layer_norm
"""

from __future__ import annotations

import argparse

from triton_gym.integrations.trl import dataset
from triton_gym.integrations.trl_rollout import Rollout, best_reward


def main() -> None:
    """Train, and say where the model lies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="Qwen/Qwen2.5-Coder-1.5B-Instruct")
    parser.add_argument("--tasks", default="softmax,layer_norm,gelu")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", default="runs/trl-turns")
    parser.add_argument("--smoke", action="store_true", help="a tiny random model, one step")
    given = parser.parse_args()
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer, small = given.model, None, {}
    if given.smoke:
        from triton_gym.agents.policy.tiny import tiny_model, tiny_tokenizer

        model, tokenizer = tiny_model(seed=0), tiny_tokenizer()
        small = {"use_cpu": True, "bf16": False, "save_strategy": "no"}
    rows = dataset(given.tasks.split(","), each=8)
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=best_reward,
        rollout_func=Rollout(rows, device=given.device, max_turns=given.turns),
        train_dataset=rows,
        args=GRPOConfig(
            output_dir=given.out,
            max_steps=1 if given.smoke else given.steps,
            per_device_train_batch_size=2 if given.smoke else 8,
            num_generations=2 if given.smoke else 8,
            max_completion_length=16 if given.smoke else 8192,
            report_to=[],
            **small,
        ),
    )
    trainer.train()
    print(f"trained {trainer.state.global_step} steps; {given.out}")


if __name__ == "__main__":
    main()
