"""Run folders: nothing is lost, and a resumed run is the run that was not interrupted."""

from __future__ import annotations

import importlib.util
import json

import pytest

import triton_gym
from triton_gym.runs.execution import execute, same
from triton_gym.runs.folder import RunFolder, read_config
from triton_gym.runs.records import Config
from triton_gym.runs.report import learning_curve

KERNEL, TUNE = "TritonKernel-softmax-v0", "TritonTune-softmax-v0"
SIMULATED = {"device": "simulated"}
has_sb3 = importlib.util.find_spec("stable_baselines3") is not None


class Killed(Exception):
    """Stands for whatever ends a run early."""


def new(path, agent="evolution", env=KERNEL, steps=10, seed=0, **options):
    return RunFolder.create(path, Config(agent, env, steps, seed, {**SIMULATED, **options}), {})


def steps_of(path):
    """The recorded steps without their wall times, which no two runs share."""
    lines = [json.loads(line) for line in (path / "steps.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def kill_after(count):
    def watch(step, best):
        if step.step == count:
            raise Killed

    return watch


def test_a_run_leaves_everything(tmp_path, stubbed):
    with new(tmp_path / "run") as folder:
        summary = execute(folder)
        learning_curve(folder)
    lines = steps_of(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(11))
    assert lines[0]["action"] is None
    assert lines[1]["outcome"]["status"] == "correct"
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "finished"
    assert summary["steps"] == sum(summary["statuses"].values()) == 10
    best = max(lines, key=lambda line: line["reward"])
    assert summary["best"]["step"] == best["step"]
    assert (tmp_path / "run" / "best.py").read_text() == (
        best["action"] or triton_gym.load("softmax").starter
    )
    assert (tmp_path / "run" / "start.py").read_text() == triton_gym.load("softmax").starter


@pytest.mark.parametrize("killed_at", [0, 1, 7, 10])
@pytest.mark.parametrize(
    ("agent", "env", "options"),
    [
        ("evolution", KERNEL, {}),
        ("evolution", KERNEL, {"action_mode": "edit", "max_turns": 3}),
        ("evolution", TUNE, {}),
        ("random", TUNE, {}),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path, stubbed, agent, env, options, killed_at
):
    with new(tmp_path / "whole", agent, env, **options) as folder:
        execute(folder)
    with new(tmp_path / "parts", agent, env, **options) as folder, pytest.raises(Killed):
        execute(folder, watch=kill_after(killed_at))
    before = len(stubbed.sources)
    with RunFolder.open(tmp_path / "parts") as folder:
        execute(folder)
    assert len(stubbed.sources) == before + 10 - killed_at  # nothing is evaluated twice
    assert steps_of(tmp_path / "parts") == steps_of(tmp_path / "whole")
    for name in ("best.py", "start.py"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.skipif(not has_sb3, reason="needs the extra sb3")
@pytest.mark.parametrize("agent", ["ppo", "a2c", "dqn"])
def test_learners_resume_exactly(tmp_path, stubbed, agent):
    with new(tmp_path / "whole", agent, TUNE, steps=60) as folder:
        execute(folder)
    with new(tmp_path / "parts", agent, TUNE, steps=60) as folder, pytest.raises(Killed):
        execute(folder, watch=kill_after(41))
    with RunFolder.open(tmp_path / "parts") as folder:
        execute(folder)
    assert steps_of(tmp_path / "parts") == steps_of(tmp_path / "whole")
    assert (tmp_path / "parts" / "model.zip").exists()


def test_a_run_can_be_prolonged_but_not_shortened(tmp_path, stubbed):
    with new(tmp_path / "long", steps=16) as folder:
        execute(folder)
    with new(tmp_path / "short", steps=10) as folder:
        execute(folder)
    with RunFolder.open(tmp_path / "short") as folder:
        execute(folder, steps=16)
        with pytest.raises(triton_gym.RunError, match="already has 16 steps"):
            execute(folder, steps=5)
    assert steps_of(tmp_path / "short") == steps_of(tmp_path / "long")


def test_a_torn_last_line_is_taken_again(tmp_path, stubbed):
    with new(tmp_path / "whole") as folder:
        execute(folder)
    with new(tmp_path / "torn") as folder:
        execute(folder)
    log = tmp_path / "torn" / "steps.jsonl"
    log.write_bytes(log.read_bytes()[:-25])
    with RunFolder.open(tmp_path / "torn") as folder:
        assert len(folder.steps) == 10
        execute(folder)
    assert steps_of(tmp_path / "torn") == steps_of(tmp_path / "whole")


def test_damage_further_up_is_refused_and_kept(tmp_path, stubbed):
    with new(tmp_path / "run", steps=3) as folder:
        execute(folder)
    log = tmp_path / "run" / "steps.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0] + lines[1][:40] + "\n" + "".join(lines[2:]))
    damaged = log.read_bytes()
    with pytest.raises(triton_gym.RunError, match="line 2, is damaged"):
        RunFolder.open(tmp_path / "run")
    assert log.read_bytes() == damaged


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("reward", "seconds") for value in ("x", None, 10**400, [])),
        {"info": "x"}, {"step": "1"}, {"terminated": 0}, {"action": [[1], [2, 3]]}, {"more": 1},
        {"action": {"a": 1}}, {"outcome": []}, {"outcome": None},
        *({"outcome": change} for change in (
            {"message": 5}, {"runtime_us": 10**400}, {"speedup": "fast"}, {"cases": 5},
            {"cases": [{"case": 5}]}, {"phases": {"a": "b"}}, {"status": "great"}, {"compiled": 1},
        )),
    ],
)  # fmt: skip
def test_a_line_that_holds_no_step_is_refused(change, tmp_path, stubbed):
    with new(tmp_path / "run", steps=1) as folder:
        execute(folder)
    log = tmp_path / "run" / "steps.jsonl"
    first, second = map(json.loads, log.read_text().splitlines())
    if isinstance(change.get("outcome"), dict):
        change = {"outcome": {**second["outcome"], **change["outcome"]}}
    log.write_text(f"{json.dumps(first)}\n{json.dumps({**second, **change})}\n")
    with pytest.raises(triton_gym.RunError, match="line 2, is damaged"):
        RunFolder.open(tmp_path / "run")


@pytest.mark.parametrize("line", ["5", "null", "NaN", "[" * 100_000, '"x"', "{}", "\0" * 500])
def test_a_line_of_anything_else_is_refused(line, tmp_path, stubbed):
    with new(tmp_path / "run", steps=1) as folder:
        execute(folder)
    log = tmp_path / "run" / "steps.jsonl"
    log.write_text(f"{line}\n{log.read_text()}")
    with pytest.raises(triton_gym.RunError, match="line 1, is damaged"):
        RunFolder.open(tmp_path / "run")


def test_an_agent_that_does_not_repeat_itself_is_refused(tmp_path, stubbed, monkeypatch):
    with new(tmp_path / "run", "random", steps=5) as folder:
        execute(folder)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    with RunFolder.open(tmp_path / "run") as folder:
        recorded = len(folder.steps)
        with pytest.raises(triton_gym.RunError, match="did not repeat"):
            execute(folder)
        assert len(folder.steps) == recorded


def test_an_agent_that_recalls_is_not_asked_again(tmp_path, stubbed, monkeypatch):
    (tmp_path / "forgetful_agent.py").write_text(
        "import random\n"
        "class Agent:\n"
        "    def __init__(self, env, seed):\n"
        "        self.env, self.recalled = env, 0\n"
        "    def act(self, observation, info):\n"
        "        return observation['kernel'] + f'# {random.random()}\\n'\n"
        "    def recall(self, observation, info, action):\n"
        "        assert action.startswith(observation['kernel'])\n"
        "        self.recalled += 1\n"
        "    def save(self, folder):\n"
        "        (folder / 'recalled').write_text(str(self.recalled))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with new(tmp_path / "run", "forgetful_agent:Agent", steps=4) as folder:
        execute(folder)
    with RunFolder.open(tmp_path / "run") as folder:
        execute(folder, steps=6)
    assert (tmp_path / "run" / "recalled").read_text() == "4"
    assert len(steps_of(tmp_path / "run")) == 7


def test_an_agent_that_crashes_loses_nothing(tmp_path, stubbed, monkeypatch):
    (tmp_path / "crashing_agent.py").write_text(
        "class Agent:\n"
        "    def __init__(self, env, seed):\n"
        "        self.left = 3\n"
        "    def act(self, observation, info):\n"
        "        self.left -= 1\n"
        "        if self.left < 0: raise KeyError('mine')\n"
        "        return observation['kernel']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with new(tmp_path / "run", "crashing_agent:Agent") as folder, pytest.raises(KeyError):
        execute(folder)
    assert len(steps_of(tmp_path / "run")) == 4
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["state"], summary["steps"]) == ("interrupted", 3)


def test_an_existing_folder_is_never_touched(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    with new(tmp_path / "run") as second, new(tmp_path / "run") as third:
        assert [second.path.name, third.path.name] == ["run-2", "run-3"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_two_processes_cannot_write_one_run(tmp_path):
    with new(tmp_path / "run"), pytest.raises(triton_gym.RunError, match="in use"):
        RunFolder.open(tmp_path / "run")


def test_another_configuration_is_refused(tmp_path):
    with new(tmp_path / "run", reward="kevin") as folder:
        config = folder.config
    same(config, {"agent": "evolution", "options": {"reward": "kevin"}})
    with pytest.raises(triton_gym.RunError, match="seed was 0, now 1"):
        same(config, {"seed": 1})
    with pytest.raises(triton_gym.RunError, match="reward was 'kevin', now 'roofline'"):
        same(config, {"options": {"reward": "roofline"}})


def test_what_is_no_run_folder_is_said_so(tmp_path):
    with pytest.raises(triton_gym.RunError, match=r"no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(triton_gym.RunError, match="cannot be read"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("env", "options", "told"),
    [
        ("CartPole-v1", {}, "not an environment of triton-gym|does not take"),
        ("TritonKernel-nothing-v0", {}, "triton-gym envs"),
        (KERNEL, {"color": "red"}, "Unknown argument 'color'"),
        (KERNEL, {"reward": "kevni"}, "Did you mean 'kevin'"),
    ],
)
def test_environments_that_cannot_be_made(tmp_path, env, options, told):
    wrong = pytest.raises(triton_gym.InvalidOptionError, match=told)
    with new(tmp_path / "run", env=env, **options) as folder, wrong:
        execute(folder)


def test_infinite_and_missing_numbers_survive(tmp_path, stubbed, monkeypatch):
    odd = triton_gym.Outcome(
        status=triton_gym.Status.INCORRECT, max_error=float("inf"), phases=(("test", 0.5),)
    )
    monkeypatch.setattr(stubbed, "evaluate", lambda *args, **options: odd)
    with new(tmp_path / "run", steps=2) as folder:
        execute(folder)
    with RunFolder.open(tmp_path / "run") as folder:
        assert repr(folder.steps[1].outcome) == repr(odd)


def test_without_matplotlib_there_is_no_curve(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with new(tmp_path / "run") as folder:
        assert learning_curve(folder) is None


def test_a_real_run_resumes(tmp_path, evaluator):
    """The simulated device repeats itself over processes, not just the stub."""
    with new(tmp_path / "whole", steps=3) as folder:
        execute(folder, evaluator=evaluator)
    with new(tmp_path / "parts", steps=3) as folder, pytest.raises(Killed):
        execute(folder, evaluator=evaluator, watch=kill_after(2))
    with RunFolder.open(tmp_path / "parts") as folder:
        execute(folder, evaluator=evaluator)
    whole, parts = steps_of(tmp_path / "whole"), steps_of(tmp_path / "parts")
    for line in (*whole, *parts):
        line["outcome"].pop("phases")
    assert whole == parts
    assert whole[1]["outcome"]["status"] == "correct"
