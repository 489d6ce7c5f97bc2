"""The training loop: learning, resuming, resampling, and what can go wrong."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from triton_gym.agents.grpo.metrics import GLOSSARY
from triton_gym.agents.grpo.settings import GRPOSettings
from triton_gym.agents.grpo.trainer import Trainer
from triton_gym.agents.policy.models import Policy, load_policy
from triton_gym.agents.policy.sampling import Reply, Sampler
from triton_gym.agents.policy.settings import PolicySettings
from triton_gym.agents.training.journal import read_lines
from triton_gym.agents.training.run import Run
from triton_gym.agents.training.settings import read_settings
from triton_gym.errors import InvalidOptionError, RunError

sys.path.insert(0, str(Path(__file__).parent))
from toy import Knobs

pytestmark = pytest.mark.filterwarnings("ignore")

BASE = (
    "policy.model=tiny-random", "policy.device=cpu", "sampling.longest=2", "rollout.envs=Knobs",
    "rollout.groups=2", "rollout.replies=4", "rollout.attempts=2", "rollout.workers=2",
    "optimizer.lr=3e-3", "run.steps=10", "run.save_every=5", "run.transcripts_every=5",
)  # fmt: skip


def settings(out, *changes):
    return read_settings(GRPOSettings, None, [*BASE, f"run.out={out}", *changes])


def train(out, *changes, until=None, make=lambda name: Knobs(), watch=None):
    with Trainer(settings(out, *changes), make=make, watch=watch) as trainer:
        trainer.train(until)
        return {k: v.clone() for k, v in trainer.policy.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_tiny_policy_learns(tmp_path):
    """From 97 tokens, 8 of which mean anything, to the one that is worth most."""
    rewards = []
    train(
        tmp_path, "rollout.groups=8", "rollout.replies=16", "run.steps=30", "run.save_every=30",
        "optimizer.lr=1e-2", watch=lambda step, m: rewards.append(m["reward"]),
    )  # fmt: skip
    before, after = sum(rewards[:5]) / 5, sum(rewards[-5:]) / 5
    assert before < 0.2
    assert after > 0.8


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("rollout.turns=2", "objective.updates=2", "objective.beta=0.01"),
        ("policy.dtype=bfloat16",),
        ("policy.lora_rank=4", "objective.beta=0.01"),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path, monkeypatch, extra):
    def make(name):
        return Knobs(turns=2 if "rollout.turns=2" in extra else 1)

    extra = (*extra, "rollout.replies=12", "objective.overlong_margin=1")
    lines: list[dict] = []
    whole = train(tmp_path / "whole", *extra, make=make, watch=lambda s, m: lines.append(m))
    assert sum(line["samples"] > 0 for line in lines) >= 5
    real = Run.save
    with monkeypatch.context() as patch:  # steps 6 and 7 are lost: the last checkpoint is of step 5
        patch.setattr(Run, "save", lambda self: real(self) if self.done == 5 else None)
        train(tmp_path / "parts", *extra, make=make, until=7)
    parts = train(tmp_path / "parts", *extra, make=make)
    assert same(whole, parts)
    one, other = (
        [
            {k: v for k, v in line.items() if "second" not in k and k != "share/waiting"}
            for line in read_lines(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("whole", "parts")
    )
    assert one == other
    assert [line["step"] for line in one] == list(range(1, 11))


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_grpo import Knobs, Trainer, settings
with Trainer(settings(sys.argv[2]), make=lambda name: Knobs()) as trainer:
    trainer.train()
"""


def test_a_run_that_is_killed_goes_on(tmp_path):
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", KILLED, here, str(tmp_path / "run")])
    log = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if log.is_file() and log.read_text().count("\n") >= 6:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_lines(log)[-1]["step"] < 10
    assert same(train(tmp_path / "whole"), train(tmp_path / "run"))


def test_what_was_called_cheating_can_be_read_at_every_step(tmp_path):
    class Strict(Knobs):
        def step(self, action):
            observation, reward, *rest, info = super().step(action)
            info |= {"status": "cheating", "message": "the clock was changed"}
            return observation, reward, *rest, info

    train(tmp_path, make=lambda name: Strict(), until=2)
    for step in (1, 2):
        text = (tmp_path / "transcripts" / f"step-{step:06d}-cheating.md").read_text()
        assert "the clock was changed" in text
        assert "`Knobs`, seed " in text
        assert text.count("# knobs") == len(set(text.split("\n\n---\n\n"))) > 1


def test_the_run_folder(tmp_path):
    train(
        tmp_path,
        "rollout.replies=12",
        "held_out.every=10",
        "held_out.envs=Knobs",
        "held_out.tasks=2",
        "run.tensorboard=true",
    )
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert set().union(*lines) - {"step"} == set(GLOSSARY)
    assert all(f"`{name}`" in (tmp_path / "glossary.md").read_text() for name in GLOSSARY)
    assert "**assistant**" in (tmp_path / "transcripts" / "step-000010.md").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["run"]["steps"] == 10
    assert json.loads((tmp_path / "machine.json").read_text())["versions"]["torch"]
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "best",
        "step-000005",
        "step-000010",
    ]
    assert not list((tmp_path / "transcripts").glob("*cheating*"))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoints" / "step-000010")
    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoints" / "step-000010").chat_template


def test_the_best_policy_is_kept_and_found_again(tmp_path, monkeypatch):
    """Rewards of examinations after steps 2, 4, … as given: the best is that of step 4."""
    rewards = iter([0.1, 0.5, 0.2, 0.4, math.nan, 0.3])

    def held_out(stage, held, world):
        stage.close()
        return {"held_out/reward": next(rewards)}

    monkeypatch.setattr("triton_gym.agents.grpo.trainer.held_out", held_out)
    changes = ("held_out.every=2", "run.save_every=50", "run.keep=1", "run.steps=12")
    at_four: dict = {}

    def watch(step, metrics):
        if step == 4:
            weights = trainer.policy.model.state_dict()
            at_four.update({name: value.clone() for name, value in weights.items()})

    with Trainer(settings(tmp_path, *changes), make=lambda name: Knobs(), watch=watch) as trainer:
        trainer.train(7)  # goes on from step 7 with the best in mind
    train(tmp_path, *changes)
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["best", "step-000004", "step-000012"]
    assert (folder / "best").resolve().name == "step-000004"
    best = load_policy(PolicySettings(model=str(folder / "best"), device="cpu"))
    assert same(at_four, best.model.state_dict())


def test_what_could_not_be_replaced_counts_as_groups_without_advantage(tmp_path):
    """Otherwise the fewer groups can teach something, the more each of them would weigh."""

    class Sometimes(Knobs):
        def reset(self, *, seed=None, options=None):
            self.flat = seed % 2 == 0
            return super().reset(seed=seed, options=options)

        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, 0.0 if self.flat else len(action.encode()) % 2 + reward, *rest

    used: list[float] = []
    weights = [
        train(
            tmp_path / least, "rollout.groups=16", "rollout.attempts=1", "objective.updates=2",
            f"rollout.least_deviation={least}", "objective.variant=dapo", "run.steps=6", "optimizer.lr=1e-3",
            "objective.overlong_margin=0", "objective.aggregation=sequence", "run.seed=1",
            make=lambda name: Sometimes(),
            watch=lambda step, m: used.append(m["groups/used"]),
        )
        for least in ("0.01", "-1")
    ]  # fmt: skip
    assert len(set(used[:6])) > 1
    assert 0 not in used, "without any group no step is taken"
    assert used[6:] == [16.0] * 6
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=0, atol=2e-5)


def test_groups_without_variance_are_replaced(tmp_path):
    seeds: list[int] = []

    class Flat(Knobs):
        """Every reply is worth the same, but in tasks with an even seed."""

        def reset(self, *, seed=None, options=None):
            self.even = seed % 2 == 0
            seeds.append(seed)
            return super().reset(seed=seed)

        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, float(len(action) * ord(action[0])) if self.even else 1.0, *rest

    metrics: list[dict] = []
    train(
        tmp_path,
        "run.steps=4",
        "rollout.attempts=8",
        make=lambda n: Flat(),
        watch=lambda s, m: metrics.append(m),
    )
    assert all(m["groups/used"] >= 2 for m in metrics)
    assert any(m["groups/varied"] < 1 for m in metrics)
    assert len(set(seeds)) > 8


def test_a_step_without_anything_to_learn_changes_nothing(tmp_path):
    class Worthless(Knobs):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, 1.0, *rest

    start = train(tmp_path / "start", "run.steps=1", "optimizer.lr=1e-30")
    metrics: list[dict] = []
    end = train(
        tmp_path / "end", "run.steps=1", "objective.overlong_margin=0",
        make=lambda n: Worthless(), watch=lambda s, m: metrics.append(m),
    )  # fmt: skip
    assert metrics[0]["samples"] == 0
    assert same(start, end)


def test_turns_see_the_feedback_on_the_reply_before(tmp_path):
    with Trainer(settings(tmp_path, "rollout.turns=3"), make=lambda n: Knobs(turns=3)) as trainer:
        episodes, *_ = trainer._collect(0)
    for episode in episodes:
        assert len(episode.turns) == 3
        roles = [m["role"] for m in episode.messages]
        assert roles == ["system", "user", *["assistant", "user"] * 3]
        second = trainer.policy.tokenizer.decode(episode.turns[1].prompt)
        assert episode.turns[0].reply.text in second
        assert "Feedback: " in second


# -- what can go wrong ----------------------------------------------------------------------------


def test_a_full_disk_loses_no_step(tmp_path, monkeypatch):
    """The checkpoint of step 5 cannot be written: training goes on, and tries again at step 6."""
    real, failing = Policy.save, [True]

    def save(policy, folder):
        real(policy, folder)
        if failing:
            failing.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Policy, "save", save)
    train(tmp_path, "run.steps=6", "run.keep=9")
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000006"]

    def always(policy, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Policy, "save", always)
    with pytest.raises(RunError, match="No space left on device"):
        train(tmp_path, "run.steps=8")
    monkeypatch.setattr(Policy, "save", real)
    train(tmp_path, "run.steps=8")
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["step"] == 8


def test_running_out_of_memory_makes_smaller_batches(tmp_path, monkeypatch):
    from triton_gym.agents.grpo import update

    real, sizes = update.token_logprobs, []

    def scarce(model, tokens, **options):
        sizes.append(tokens.numel())
        if tokens.numel() > 100:
            raise torch.cuda.OutOfMemoryError("made up")
        return real(model, tokens, **options)

    whole = train(tmp_path / "whole", "run.steps=2", "rollout.replies=12")
    monkeypatch.setattr(update, "token_logprobs", scarce)
    parts = train(tmp_path / "parts", "run.steps=2", "rollout.replies=12")
    assert max(sizes) > 100 > min(sizes)
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], atol=1e-4, rtol=1e-3)


def gpt2(checkpointing):
    """A GPT-2 of two layers, whose own configuration drops a tenth of everything."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from triton_gym.agents.policy.models import Policy
    from triton_gym.agents.policy.tiny import tiny_tokenizer

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=110, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    assert config.resid_pdrop == config.attn_pdrop == config.embd_pdrop == 0.1
    model = GPT2LMHeadModel(config).eval()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return Policy(model, tiny_tokenizer(), "gpt2", torch.device("cpu"), (1,), 128)


def updated(policy, shift=0.0, **objective):
    """Metrics of one update on replies whose log-probabilities are the policy's own, shifted."""
    from triton_gym.agents.grpo.batch import Sample
    from triton_gym.agents.grpo.settings import ObjectiveSettings
    from triton_gym.agents.grpo.update import Updater
    from triton_gym.agents.policy.logprobs import token_logprobs
    from triton_gym.agents.training.optimizer import Optimizer
    from triton_gym.agents.training.settings import OptimizerSettings
    from triton_gym.agents.training.world import World

    samples = []
    for number in range(4):
        tokens = torch.arange(10 + number, 40 + 2 * number)
        with torch.no_grad():
            logps = token_logprobs(policy.model, tokens[None]).logps[0, 9:] + shift
        samples.append(
            Sample(
                tuple(tokens[:10].tolist()), tuple(tokens[10:].tolist()), tuple(logps.tolist()),
                (-1.0) ** number,
            )
        )  # fmt: skip
    world = World()
    updater = Updater(
        policy, Optimizer(policy.model.parameters(), OptimizerSettings(), world),
        ObjectiveSettings(**objective), world, 1.0, 40, 4096,
    )  # fmt: skip
    return updater.update(samples, 1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_models_own_dropout_is_off_while_it_is_reinforced(checkpointing):
    policy = gpt2(checkpointing)
    metrics = updated(policy)
    assert metrics["mismatch/kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["gradient_norm"] > 0
    assert not any(module.training for module in policy.model.modules())


def test_metrics_exist_where_every_token_is_masked():
    for shift in (50.0, -50.0, -1000.0):
        metrics = updated(gpt2(False), shift=shift, correction="mask")
        assert metrics["mismatch/dropped"] == 1.0
        assert not any(math.isnan(value) for value in metrics.values()), metrics
        assert metrics["loss"] == metrics["gradient_norm"] == 0


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    train(tmp_path, "run.steps=1")
    with pytest.raises(RunError, match=r"optimizer\.lr was"):
        train(tmp_path, "optimizer.lr=0.5")
    with (
        Trainer(settings(tmp_path, "run.steps=2"), make=lambda n: Knobs()),
        pytest.raises(RunError, match="in use"),
    ):
        train(tmp_path, "run.steps=2")


def test_a_context_that_is_too_short_is_refused(tmp_path):
    with pytest.raises(InvalidOptionError, match=r"Lower sampling\.longest"):
        train(tmp_path, "sampling.longest=4090")
    with pytest.raises(InvalidOptionError, match="does not fit"):
        train(tmp_path, "sampling.longest=4050")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rollout.reply=8", "Did you mean 'rollout.replies'"),
        ("rollout.replies=1", "2 or more"),
        ("rollout.replies=two", "must be int"),
        ("objective.variant=dappo", "Did you mean 'dapo'"),
        ("objective.baseline=mean", "Allowed: centred"),
        ("sampling.temperature=0", "above 0"),
        ("sampling.backend=vllm", "sampling.url"),
        ("optimizer.schedule=step", "Allowed: constant"),
        ("run.steps=0", "1 or more"),
        ("steps", "key=value"),
        ("policy.lora_rank=true", "must be int"),
    ],
)
def test_bad_settings_are_named(tmp_path, change, message):
    with pytest.raises(InvalidOptionError, match=message):
        settings(tmp_path, change)


def test_settings_come_from_a_file_and_arguments(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        '[rollout]\nreplies = 6\nenvs = ["a", "b"]\n[rollout.options]\nsplit = "train"\n'
    )
    found = read_settings(
        GRPOSettings,
        file,
        ["rollout.groups=3", "rollout.options.difficulty=easy", "optimizer.lr=1"],
    )
    assert (found.rollout.replies, found.rollout.groups, found.rollout.envs) == (6, 3, ("a", "b"))
    assert found.rollout.options == {"split": "train", "difficulty": "easy"}
    assert found.optimizer.lr == 1.0
    again = tmp_path / "again.json"
    from triton_gym.agents.training.settings import as_json

    again.write_text(json.dumps(as_json(found)))
    assert read_settings(GRPOSettings, again, []) == found
    file.write_text("[rollout\n")
    with pytest.raises(InvalidOptionError, match="not valid"):
        read_settings(GRPOSettings, file, [])


# -- on real tasks --------------------------------------------------------------------------------


class Oracle(Sampler):
    """A sampler that knows the answers: the starter of each task, or nonsense."""

    def __init__(self, trainer):
        self.trainer, self.calls = trainer, 0

    def update(self):
        pass

    def stream(self, prompts, seed):
        encode = self.trainer.policy.tokenizer
        for number, prompt in enumerate(prompts):
            text = encode.decode(list(prompt))
            wanted = next(e for e in self.envs if e.unwrapped.task.title in text).unwrapped.task
            answer = f"```python\n{wanted.starter}\n```" if number % 2 else "I do not know."
            tokens = tuple(encode(answer, add_special_tokens=False)["input_ids"][:4])
            yield number, Reply(tokens, (-1.0,) * len(tokens), True, answer)


def test_kernel_environments_reward_replies_that_are_correct(tmp_path, evaluator):
    import gymnasium as gym

    from triton_gym.agents.grpo.judging import SharedEvaluator

    changes = (
        "rollout.envs=TritonKernel-composed-v0?difficulty=easy", "rollout.options.kind=elementwise",
        "rollout.groups=2", "run.steps=1", "sampling.longest=64",
    )  # fmt: skip
    from triton_gym.agents.grpo.places import maker

    shared = SharedEvaluator(evaluator)
    envs: list[gym.Env] = []
    inner = maker({"kind": "elementwise"}, evaluator=shared, turns=1, reward="kevin")

    def make(name):
        envs.append(inner(name))
        return envs[-1]

    metrics: list[dict] = []
    with Trainer(
        settings(tmp_path, *changes),
        make=make,
        evaluator=shared,
        watch=lambda s, m: metrics.append(m),
    ) as trainer:
        oracle = Oracle(trainer)
        oracle.envs = envs
        trainer.stage.sampler = oracle
        trainer.train()
    assert metrics[0]["share/correct"] == 0.5
    assert metrics[0]["share/invalid_action"] + metrics[0]["share/rejected"] == 0.5
    assert metrics[0]["groups/used"] == 2
    assert metrics[0]["evaluations"] <= 4  # four replies of a group are two texts
    assert metrics[0]["speedup"] > 0


def test_what_evaluations_took_is_told_by_phase():
    from concurrent.futures import Future

    from triton_gym import Outcome, Status
    from triton_gym.agents.grpo.judging import SharedEvaluator

    class Measured:
        def submit(self, task, source, **options):
            future: Future = Future()
            if source == "hangs":
                return future
            seconds = float(source)
            phases = (("compile", seconds / 2), *([("learn", 0.5)] if seconds > 1 else []))
            future.set_result(Outcome(status=Status.CORRECT, evaluation_s=seconds, phases=phases))
            return future

    shared = SharedEvaluator(Measured())
    assert shared.seconds() == {}
    for source in ("1", "1", "3", "nan", "hangs"):
        shared.submit(None, source)
    assert shared.seconds() == {"total": 2, "compile": 1, "learn": 0.25}


def test_equal_replies_that_await_one_evaluation_keep_no_others_waiting(tmp_path):
    """All of a step's replies wait at once, however few evaluations may."""
    from triton_gym.agents.grpo.judging import SharedEvaluator

    together = threading.Barrier(8)

    class Waiting(Knobs):
        def step(self, action):
            together.wait(timeout=20)
            return super().step(action)

    few = settings(tmp_path, "rollout.workers=1", "rollout.attempts=1")
    shared = SharedEvaluator(None)  # of which the environment asks nothing
    with Trainer(few, make=lambda name: Waiting(), evaluator=shared) as trainer:
        trainer.train(1)
    assert not together.broken


class Dictated(Sampler):
    """A sampler that replies what it is told to, to every prompt."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def update(self):
        pass

    def stream(self, prompts, seed):
        text = self.texts.pop(0)
        for number, _ in enumerate(prompts):
            yield number, Reply((5, 6), (-1.0, -1.0), True, text)


def block(search, replace):
    return f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


@pytest.mark.parametrize("credited", [False, True])
def test_an_edit_that_changes_nothing_earns_nothing(credited):
    import gymnasium as gym

    from triton_gym.agents.grpo.episodes import Place, Stage
    from triton_gym.agents.policy.models import load_policy
    from triton_gym.agents.policy.settings import PolicySettings

    name, fast = "x, y, cols, BLOCK=256, num_warps=2", "x, y, cols, BLOCK=512, num_warps=4"
    call = "    sum_rows_kernel[(rows,)]({})"
    texts = [
        block(call.format(name), call.format(name)),  # nothing
        block(call.format(name), call.format(name) + "  # faster"),  # a comment
        "I would rather not.",
        block(call.format(name) + "  # faster", call.format(fast)),
        block(call.format(fast), call.format(fast)),
    ]
    stage = Stage(
        load_policy(PolicySettings(model="tiny-random", device="cpu")), Dictated(*texts),
        lambda name: gym.make(name, device="simulated", action_mode="edit", max_turns=9),
        turns=5, longest=8, parts=1, threads=1, credit_unchanged=credited,
    )  # fmt: skip
    try:
        (episode,) = stage.play([Place("TritonKernel-sum_rows-v0", 3)], 1, [0])
    finally:
        stage.close()
    statuses = [turn.info["status"] for turn in episode.turns]
    assert statuses == ["correct", "correct", "invalid_action", "correct", "correct"]
    assert [turn.unchanged for turn in episode.turns] == [True, True, False, False, True]
    earned = [turn.reward > 0 for turn in episode.turns]
    assert earned == ([True, True, False, True, True] if credited else [False] * 3 + [True, False])


def test_a_module_that_is_handed_in_again_earns_nothing():
    import gymnasium as gym

    from triton_gym.agents.grpo.episodes import Place, Stage
    from triton_gym.agents.policy.models import load_policy
    from triton_gym.agents.policy.settings import PolicySettings

    env = gym.make("TritonKernel-sum_rows-v0", device="simulated", max_turns=9)
    starter = env.unwrapped.task.starter
    stage = Stage(
        load_policy(PolicySettings(model="tiny-random", device="cpu")),
        Dictated(f"```python\n{starter}\n```", f"Again:\n```python\n{starter}\n```"),
        lambda name: env, turns=2, longest=8, parts=1, threads=1,
    )  # fmt: skip
    try:
        (episode,) = stage.play([Place("TritonKernel-sum_rows-v0", 3)], 1, [0])
    finally:
        stage.close()
    assert episode.turns[0].reward > 0, "the first turn does not show the starter"
    assert episode.turns[1].reward == 0


class Counting(Dictated):
    """Says the same to everyone, and notes how many are asked at once."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def stream(self, prompts, seed):
        self.asked.append(len(prompts))
        for number, _ in enumerate(prompts):
            yield number, Reply((5, 6), (-1.0, -1.0), True, "c")


@pytest.mark.parametrize(
    ("parts", "asked"), [(1, [16]), (2, [12, 4]), (3, [6, 6, 4]), (5, [4, 3, 3, 3, 3])]
)
def test_nobody_waits_long_for_the_last_part(parts, asked):
    from triton_gym.agents.grpo.episodes import Place, Stage
    from triton_gym.agents.policy.models import load_policy
    from triton_gym.agents.policy.settings import PolicySettings

    sampler = Counting()
    stage = Stage(
        load_policy(PolicySettings(model="tiny-random", device="cpu")), sampler,
        lambda name: Knobs(turns=2), turns=2, longest=8, parts=parts, threads=2,
    )  # fmt: skip
    try:
        episodes = stage.play([Place("knobs", 3), Place("knobs", 4)], 8, [0])
    finally:
        stage.close()
    assert sampler.asked == 2 * asked
    assert [episode.place.seed for episode in episodes] == [3] * 8 + [4] * 8
    assert all([turn.reward for turn in e.turns] == [1.0, 0.2] for e in episodes)
