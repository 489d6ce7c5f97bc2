"""TRL's own trainer over our reward function and our tools."""

from __future__ import annotations

import warnings

import pytest
import torch

from triton_gym import InvalidOptionError, load
from triton_gym.agents.policy.tiny import tiny_model, tiny_tokenizer
from triton_gym.integrations.trl import KernelTools, dataset, reward_function, said

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl import GRPOConfig, GRPOTrainer

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT = """import torch, triton
import triton.language as tl
@triton.jit
def k(y, x, n, B: tl.constexpr):
    i = tl.arange(0, B)
    p = tl.program_id(0).to(tl.int64) * n + i
    v = tl.load(x + p, mask=i < n, other=-float("inf")).to(tl.float32)
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(y + p, e / tl.sum(e, axis=0), mask=i < n)
def softmax(x):
    y = torch.empty_like(x)
    k[(x.shape[0],)](y, x, x.shape[1], B=triton.next_power_of_2(x.shape[1]), num_warps=8)
    return y
"""
"""A correct answer that is short: the tiny model's tokens are characters."""
LONGEST = 640


class Dictated:
    """A `rollout_func` that says given replies in turn, with the model's probabilities."""

    def __init__(self, *replies):
        self.replies = replies

    def __call__(self, prompts, trainer):
        tokenizer = trainer.processing_class
        given = [
            tokenizer.apply_chat_template(p, add_generation_prompt=True)["input_ids"]
            for p in prompts
        ]
        said = [tokenizer(self.replies[i % len(self.replies)])["input_ids"] + [1]
                for i in range(len(prompts))]  # fmt: skip
        scores = [logprobs(trainer.model, p, c).tolist() for p, c in zip(given, said, strict=True)]
        return {"prompt_ids": given, "completion_ids": said, "logprobs": scores}


def logprobs(model, prompt, completion):
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logits.gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_five_steps_make_a_rewarded_reply_likelier(evaluator, tmp_path):
    tokenizer, model = tiny_tokenizer(), tiny_model(seed=3)
    rows = dataset(["softmax"], each=4)
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_steps=5,
        max_completion_length=LONGEST, learning_rate=3e-3, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, save_strategy="no", logging_steps=1,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model, processing_class=tokenizer, args=config, train_dataset=rows,
        reward_funcs=reward_function("autotriton", evaluator=evaluator),
        rollout_func=Dictated(SHORT, "I cannot do that."),
    )  # fmt: skip
    prompt = tokenizer.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True)
    reply = tokenizer(SHORT)["input_ids"] + [1]
    before = logprobs(model, prompt["input_ids"], reply).sum().item()
    trainer.train()
    after = logprobs(trainer.model, prompt["input_ids"], reply).sum().item()
    assert after > before
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logged) == 5
    assert all(entry["reward"] == 0.5 for entry in logged)


def test_the_trainer_takes_our_tools(evaluator):
    """What GRPOTrainer does with an `environment_factory`, on the instance it would make."""
    import inspect

    from transformers.utils import get_json_schema

    tools = KernelTools(evaluator=evaluator, max_turns=3)
    public = [
        name for name, _ in inspect.getmembers(type(tools), predicate=inspect.isfunction)
        if not name.startswith("_") and name not in {"reset", "get_reward"}
    ]  # fmt: skip
    assert public == ["edit_kernel", "submit_kernel"]
    for name in public:
        schema = get_json_schema(getattr(tools, name))["function"]
        assert schema["description"]
        assert all(value["description"] for value in schema["parameters"]["properties"].values())
    assert "softmax" in tools.reset(task="softmax", prompt=[])
    assert tools.get_reward() == 0.0
    assert tools.submit_kernel(SHORT).startswith("correct")
    first = tools.get_reward()
    assert first > 0
    edit = "<<<<<<< SEARCH\ndef softmax(x):\n=======\ndef softmox(x):\n>>>>>>> REPLACE\n"
    assert not tools.edit_kernel(edit).startswith("correct")
    assert tools.get_reward() == first
    assert "does not apply" in tools.edit_kernel(edit)


def test_a_group_is_one_batch_and_what_is_no_kernel_gets_nothing(evaluator, answers):
    reward = reward_function("kevin", evaluator=evaluator)
    completions = [
        answers["expert"], [{"role": "assistant", "content": answers["expert"]}],
        answers["zeros"], answers["empty"], answers["huge"],
    ]  # fmt: skip
    columns: dict[str, list] = {}
    rewards = reward(
        completions=completions, task=["softmax"] * 5, prompts=[""] * 5,
        log_extra=columns.__setitem__, log_metric=lambda name, value: None,
    )  # fmt: skip
    assert rewards[0] == rewards[1] > 0.3
    assert rewards[2:] == [0.0, 0.0, 0.0]
    assert columns["status"][:3] == ["correct", "correct", "incorrect"]


def test_two_episodes_at_once_are_apart_and_bad_input_is_told(evaluator, answers):
    one, two = (KernelTools(evaluator=evaluator, max_turns=2) for _ in range(2))
    one.reset(task="softmax")
    two.reset(task="softmax")
    for kind in ("empty", "huge"):
        assert one.submit_kernel(answers[kind]).startswith("invalid_action")
    assert "over" in one.submit_kernel(SHORT)
    assert two.submit_kernel(SHORT).startswith("correct")
    assert (one.get_reward(), two.get_reward() > 0) == (0.0, True)
    one.reset(task="softmax")  # the next episode of the same session
    assert one.submit_kernel(SHORT).startswith("correct")


def test_a_data_set_without_tasks_is_refused(evaluator):
    with pytest.raises(InvalidOptionError, match="column `task`"):
        reward_function(evaluator=evaluator)(completions=["x"])
    with pytest.raises(InvalidOptionError, match="column `task`"):
        KernelTools(evaluator=evaluator).reset()


def test_the_text_of_a_completion():
    assert said("a") == said([{"role": "assistant", "content": "a"}]) == "a"
    assert said([]) == said([{"role": "tool", "content": "b"}]) == ""


def test_the_data_set_asks_for_each_task():
    rows = dataset(["softmax", "sum_rows"], each=2)
    assert rows["task"] == ["softmax", "softmax", "sum_rows", "sum_rows"]
    assert load("sum_rows").statement.split(".")[0] in rows[2]["prompt"][-1]["content"]


def test_the_example(run_example, tmp_path):
    printed = run_example(
        "trl_grpo", "--smoke", "--device", "simulated", "--tasks", "softmax", "--out", str(tmp_path)
    )
    assert "trained 1 steps" in printed
