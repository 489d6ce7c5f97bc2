"""Fine-tuning: what is learned from, packing, resuming."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from triton_gym.agents.policy.logprobs import token_logprobs
from triton_gym.agents.policy.models import load_policy
from triton_gym.agents.policy.settings import PolicySettings
from triton_gym.agents.sft.examples import encode, pack, read_examples, rows_of
from triton_gym.agents.sft.settings import ExamplesSettings, SFTSettings
from triton_gym.agents.sft.trainer import GLOSSARY, Trainer
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.run import Run
from triton_gym.agents.training.settings import read_settings
from triton_gym.errors import InvalidOptionError, RunError

sys.path.insert(0, str(Path(__file__).parent))
from toy import Knobs

pytestmark = pytest.mark.filterwarnings("ignore")


def conversation(question, *answers):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": question}]
    for answer in answers:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "again"}]
    return messages[:-1]


@pytest.fixture(scope="module")
def policy():
    return load_policy(PolicySettings(model="tiny-random"), seed=1)


@pytest.fixture
def data(tmp_path):
    rng = random.Random(0)
    rows = [
        {"messages": conversation("pick" + "!" * rng.randrange(9), "c"), "kind": "answer"}
        for _ in range(64)
    ]
    rows.append({"messages": conversation("x" * 300, "long"), "kind": "answer"})
    for name, part in (("train", rows), ("test", rows[:8])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    return tmp_path


def train(data, name, *changes, until=None):
    settings = read_settings(
        SFTSettings, None,
        ["policy.model=tiny-random", f"examples.train={data}/train.jsonl",
         f"examples.test={data}/test.jsonl", "examples.length=128", "examples.batch_tokens=512",
         "optimizer.lr=3e-3", "optimizer.warmup=2", "optimizer.schedule=constant", "run.save_every=5", f"run.out={data}/{name}",
         "sampling.longest=2", "held_out.envs=Knobs", "held_out.tasks=2", *changes],
    )  # fmt: skip
    with Trainer(settings, make=lambda n: Knobs()) as trainer:
        trainer.train(until)
        return trainer, {k: v.clone() for k, v in trainer.policy.model.state_dict().items()}


def test_several_data_sets_are_learned_together(data, policy):
    both = (f"{data}/train.jsonl", f"{data}/test.jsonl")
    settings = ExamplesSettings(length=128, batch_tokens=512)
    found, too_long = read_examples(both, policy, settings)
    assert (len(found), too_long) == (64 + 8, 1)
    trainer, _ = train(data, "both", f"examples.train={','.join(both)}", until=1)
    assert trainer.settings.examples.train == both
    with pytest.raises(RunError, match="cannot be read"):
        read_examples((both[0], "not-here.jsonl"), policy, settings)


def test_only_the_last_answer_is_learned(policy):
    example = encode(policy, conversation("q", "bad", "good"))
    decode = policy.tokenizer.decode
    assert decode(example.tokens[example.start :]) == "good<e>"
    assert decode(example.tokens[: example.start]).endswith("bad<e><u>again<e><a>")
    rows = rows_of(pack([example, example], 100, packing=True), policy.pad, policy.device)
    assert decode(rows.tokens[0, 1:][rows.learned[0]]) == "good<e>good<e>"


def test_packed_examples_do_not_see_each_other(policy):
    examples = [encode(policy, conversation("q" * n, "answer" * (n % 3 + 1))) for n in range(1, 9)]
    losses = {}
    for packing in (True, False):
        rows = pack(examples, 80, packing=packing)
        assert sum(map(len, rows)) == len(examples)
        part = rows_of(rows, policy.pad, policy.device)
        policy.model.zero_grad()
        scores = token_logprobs(
            policy.model, part.tokens, keep=part.learned, positions=part.positions
        )
        scores.logps.sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.model.parameters()])
        losses[packing] = (scores.logps.sum().detach(), gradient)
    assert 1 < len(pack(examples, 80, packing=True)) < len(examples)
    torch.testing.assert_close(losses[True][0], losses[False][0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(losses[True][1], losses[False][1], atol=1e-4, rtol=1e-3)
    alone = 0.0
    for example in examples:
        tokens = torch.tensor([example.tokens])
        alone += token_logprobs(policy.model, tokens).logps[0, example.start - 1 :].sum().item()
    assert losses[True][0].item() == pytest.approx(alone, rel=1e-5)


def test_it_learns_and_writes_down_what_it_did(data):
    trainer, _ = train(
        data, "run", "examples.epochs=12", "held_out.every=20", "run.tensorboard=true"
    )
    lines = read_lines(data / "run" / "metrics.jsonl")
    assert lines[-1]["held_out/loss"] < 0.1 < 2 < lines[0]["loss"]
    assert lines[-1]["held_out/correct"] == 1.0
    assert lines[-1]["accuracy"] > 0.9
    assert set().union(*lines) - {"step"} == set(GLOSSARY)
    assert trainer.too_long == 1
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(sorted((data / "run" / "checkpoints").iterdir())[-1])


def test_a_resumed_run_equals_one_that_was_not_interrupted(data, monkeypatch):
    steps = ("examples.epochs=9", "run.steps=10")
    _, whole = train(data, "whole", *steps)
    real = Run.save
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", lambda self: real(self) if self.done == 5 else None)
        train(data, "parts", *steps, until=7)
    _, parts = train(data, "parts", *steps)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert [line["step"] for line in read_lines(data / "parts" / "metrics.jsonl")] == list(
        range(1, 11)
    )


def test_a_section_that_leaves_something_out_leaves_it_as_it_was(tmp_path):
    file = tmp_path / "sft.toml"
    file.write_text("[run]\nkeep = 1\n[optimizer]\nmicro_tokens = 4096\n")
    found, default = read_settings(SFTSettings, file, ["run.seed=3"]), SFTSettings()
    assert (found.run.keep, found.run.seed, found.optimizer.micro_tokens) == (1, 3, 4096)
    assert (found.run.steps, found.run.save_every) == (default.run.steps, default.run.save_every)
    assert (found.optimizer.lr, found.optimizer.warmup) == (5e-4, 20)


def test_bad_examples_are_refused(data, policy):
    with pytest.raises(RunError, match="cannot be read"):
        train(data, "a", "examples.train=not-here.parquet")
    with pytest.raises(InvalidOptionError, match="there are answer"):
        train(data, "b", "examples.kinds=edit")
    long = json.dumps({"messages": conversation("x" * 300, "a"), "kind": "answer"})
    (data / "train.jsonl").write_text(long + "\n")
    with pytest.raises(InvalidOptionError, match="longer than"):
        train(data, "c")
    (data / "train.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(InvalidOptionError, match="messages"):
        train(data, "d")
    with pytest.raises(InvalidOptionError, match="assistant"):
        encode(policy, conversation("q", "a")[:-1])
