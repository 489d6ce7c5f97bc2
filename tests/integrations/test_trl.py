"""TRL's own trainer over our reward function and our tools."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from triton_gym import Evaluator, InvalidOptionError, load
from triton_gym.agents.policy.tiny import tiny_model, tiny_tokenizer
from triton_gym.integrations.trl import KernelTools, dataset, environment, reward_function, said
from triton_gym.integrations.trl_rollout import Rollout, best_reward

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


class Scripted:
    """A model's `generate` that says what a function of the prompt's text dictates."""

    def __init__(self, tokenizer, reply):
        self.tokenizer, self.reply = tokenizer, reply

    def __call__(self, input_ids, **_):
        texts = self.tokenizer.batch_decode(input_ids)
        said = [self.reply(row, text) for row, text in enumerate(texts)]
        tokens = [self.tokenizer(one)["input_ids"] + [1] for one in said]
        longest = max(map(len, tokens))
        replies = [ids + [0] * (longest - len(ids)) for ids in tokens]
        return torch.cat([input_ids, torch.tensor(replies)], dim=1)


def trainer_of(tmp_path, tokenizer, reply, rows, **options):
    model = tiny_model(seed=3, context=8192)
    model.generate = Scripted(tokenizer, reply)
    config = GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=2, num_generations=2, max_steps=1,
        max_completion_length=3000, report_to=[], use_cpu=True, bf16=False, save_strategy="no",
        gradient_checkpointing=False, logging_steps=1,
    )  # fmt: skip
    return GRPOTrainer(
        model=model, processing_class=tokenizer, args=config, train_dataset=rows, **options
    )


def tool_call(name, **arguments):
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


def test_the_trainer_plays_our_tools_and_survives_a_wrong_tool_name(evaluator, tmp_path):
    """GRPOTrainer's own loop over `environment_factory`, with a chat template that knows tools."""
    from trl.chat_template_utils import qwen2_5_chat_template

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = qwen2_5_chat_template
    heard = []

    def reply(row, text):
        if "<tool_response>" in text:
            heard.append(text.rpartition("<tool_response>")[2])
            return "Done."
        return tool_call("submit_kernel" if row % 2 == 0 else "submit_kernels", kernel=SHORT)

    trainer = trainer_of(
        tmp_path, tokenizer, reply, dataset(["softmax"], each=2),
        environment_factory=environment(evaluator=evaluator, reward="autotriton", max_turns=2),
    )  # fmt: skip
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert logged["reward"] == 0.5  # one of two
    assert logged["tools/failure_frequency"] == 0.5
    assert heard[0].lstrip().startswith("correct")
    assert "submit_kernels not found" in heard[1]


def test_the_trainer_plays_episodes_of_several_turns(evaluator, tmp_path):
    tokenizer, rows = tiny_tokenizer(), dataset(["softmax"], each=2)

    def reply(row, text):
        if row % 2:
            return "I cannot do that."
        return SHORT if "Feedback" in text else "Let me think."

    rollout = Rollout(rows, evaluator=evaluator, reward="autotriton", max_turns=2)
    trainer = trainer_of(
        tmp_path, tokenizer, reply, rows, rollout_func=rollout, reward_funcs=best_reward
    )
    found = rollout([rows[0]["prompt"]] * 2, trainer)
    assert found["episode_reward"] == [1.0, 0.0]
    for tokens, own in zip(found["completion_ids"], found["env_mask"], strict=True):
        told = tokenizer.decode([t for t, mine in zip(tokens, own, strict=True) if not mine])
        assert told.startswith("<u>Feedback: invalid_action")
        assert told.endswith("<a>")
    spoken = [t for t, mine in zip(found["completion_ids"][0], found["env_mask"][0], strict=True)
              if mine]  # fmt: skip
    assert tokenizer.decode(spoken) == f"Let me think.<e>{SHORT}<e>"
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert logged["reward"] == 0.5
    with pytest.raises(InvalidOptionError, match="none of the rows"):
        rollout([[{"role": "user", "content": "another"}]], trainer)


def test_a_group_is_answered_when_its_judge_is_killed(dying, answers):
    reward = reward_function("autotriton", evaluator=dying)
    assert reward(completions=[SHORT, answers["zeros"]], task=["softmax"] * 2) == [1.0, 0.0]


def test_a_trainer_that_is_interrupted_leaves_nothing_under_way(evaluator, monkeypatch):
    """Control-C while a batch is evaluated: what was submitted is taken back."""
    submitted = []

    def submit(task, source, **options):
        if submitted:
            raise KeyboardInterrupt
        submitted.append(Evaluator.submit(evaluator, task, source, **options))
        return submitted[-1]

    monkeypatch.setattr(evaluator, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        reward_function(evaluator=evaluator)([SHORT + "# a", SHORT + "# b"], ["softmax"] * 2)
    assert submitted[0].cancelled()


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


@pytest.mark.slow  # `make integrations` runs them
@pytest.mark.parametrize("example", ["trl_grpo", "trl_rollout"])
def test_the_example(run_example, tmp_path, example):
    printed = run_example(
        example, "--smoke", "--device", "simulated", "--tasks", "softmax", "--out", str(tmp_path)
    )
    assert "trained 1 steps" in printed
