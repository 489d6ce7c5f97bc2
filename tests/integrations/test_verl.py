"""verl's agent loop with a server that says what the test dictates."""

from __future__ import annotations

import asyncio

import pytest

from triton_gym import InvalidOptionError
from triton_gym.agents.policy.tiny import tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


class Server:
    def __init__(self, tokenizer, *replies):
        self.tokenizer, self.replies, self.prompts = tokenizer, list(replies), []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        from verl.workers.rollout.replica import TokenOutput

        self.prompts.append(prompt_ids)
        tokens = self.tokenizer(self.replies.pop(0))["input_ids"] + [1]
        return TokenOutput(token_ids=tokens, log_probs=[-0.5] * len(tokens))


def loop_for(evaluator, *replies, max_turns=2, longest=20_000):
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap

    from triton_gym.integrations.verl import KernelAgentLoop

    tokenizer = tiny_tokenizer()
    rollout = {"prompt_length": 8192, "response_length": longest}
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})
    server = Server(tokenizer, *replies)
    options = {"evaluator": evaluator, "max_turns": max_turns}

    async def make():
        return KernelAgentLoop(
            DictConfigWrap(config), server, tokenizer, None, None,
            DictConfigWrap(OmegaConf.create({})), kernel_options=options,
        )  # fmt: skip

    return make, server


ROW = {"extra_info": {"task": "softmax", "seed": 0}}


def test_an_episode_of_two_turns(evaluator, answers):
    make, server = loop_for(evaluator, answers["zeros"], answers["expert"])

    async def play():
        return await (await make()).run({}, **ROW)

    output = asyncio.run(play())
    assert output.reward_score > 0.3
    assert output.extra_fields["turn_scores"][0] == 0.0
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs)
    said = output.response_ids
    spoken = [t for t, own in zip(said, output.response_mask, strict=True) if own]
    assert len(spoken) < len(said)  # feedback is not the policy's
    assert len(server.prompts[1]) > len(server.prompts[0])


def test_an_episode_that_is_left_and_two_at_once(evaluator, answers):
    """A cancelled episode ends; another goes on beside it, through empty and huge replies."""
    leaving, _ = loop_for(evaluator, answers["expert"], answers["expert"])
    staying, _ = loop_for(
        evaluator, "", "x" * 300_000, answers["expert"], max_turns=3, longest=10**6
    )

    async def play():
        left = asyncio.create_task((await leaving()).run({}, **ROW))
        stayed = asyncio.create_task((await staying()).run({}, **ROW))
        await asyncio.sleep(0.3)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        return await stayed

    output = asyncio.run(play())
    assert output.extra_fields["turn_scores"][:2] == [0.0, 0.0]
    assert output.reward_score > 0.3


def test_an_episode_goes_on_when_its_judge_is_killed(dying, answers):
    make, _ = loop_for(dying, answers["expert"], max_turns=1)

    async def play():
        return await (await make()).run({}, **ROW)

    assert asyncio.run(play()).reward_score > 0.3


def test_a_row_without_a_task_is_refused(evaluator):
    make, _ = loop_for(evaluator, "")

    async def play(row):
        return await (await make()).run({}, **row)

    with pytest.raises(InvalidOptionError, match="extra_info"):
        asyncio.run(play({}))
    with pytest.raises(InvalidOptionError, match="softmax"):
        asyncio.run(play({"extra_info": {"task": "softmx"}}))


def test_the_reward_function(evaluator, answers, monkeypatch):
    from triton_gym.integrations import verl

    monkeypatch.setattr(verl, "evaluator_for", lambda device: evaluator)
    score = verl.compute_score("", answers["expert"], None, {"task": "softmax"})
    assert score["score"] > 0.3
    assert score["correct"] == 1.0
    for kind in ("empty", "prose", "huge"):
        assert verl.compute_score("", answers[kind], None, {"task": "softmax"})["score"] == 0.0
    with pytest.raises(InvalidOptionError, match="extra_info"):
        verl.compute_score("", "", None, {})


def test_the_example_writes_settings_that_the_trainer_knows(run_example, tmp_path):
    printed = run_example("verl_grpo", "--config", "--tasks", "softmax", "--out", str(tmp_path))
    assert "default_agent_loop: triton_kernel" in printed
    assert "KernelAgentLoop" in (tmp_path / "loops.yaml").read_text()
    assert (tmp_path / "train.parquet").stat().st_size > 0


def test_the_loop_is_registered():
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    import triton_gym.integrations.verl  # noqa: F401

    assert "triton_kernel" in _agent_loop_registry
