"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import triton_gym
from triton_gym import cli, printing

KERNEL = "TritonKernel-softmax-v0"


def invoke(*arguments):
    """Exit code and output, with the handling of errors that `main` has."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def console(*arguments, cwd=None, env=None):
    """The console command in a process of its own."""
    code = "from triton_gym.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, env=env
    )


def test_importing_the_command_line_loads_no_torch():
    code = "import sys, triton_gym.cli; sys.exit(bool({'torch', 'triton'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_envs_lists_every_id():
    code, output = invoke("envs", "--json")
    rows = json.loads(output)
    assert code == 0
    assert {row["id"] for row in rows} >= {
        f"{kind}-{name}-v0"
        for kind in ("TritonKernel", "TritonTune")
        for name in triton_gym.tasks()
    }
    assert "TritonKernel-composed-v0" in {row["id"] for row in rows}
    assert invoke("envs")[1].count("TritonKernel-") == len(triton_gym.tasks()) + 1
    tagged = json.loads(invoke("envs", "--json", "--tag", "matrix")[1])
    assert {row["title"] for row in tagged} < {row["title"] for row in rows}


@pytest.mark.parametrize("name", ["softmax", KERNEL, "TritonTune-softmax-v0"])
def test_show_says_what_is_asked(name):
    code, output = invoke("show", name)
    assert code == 0
    # Brackets of the statement are not markup.
    assert "y[i, j] = exp(x[i, j])" in " ".join(output.replace("│", " ").split())
    assert "def softmax(x)" in output
    assert "rows=4096 cols=4096 float32" in output


@pytest.mark.parametrize("which", ["starter", "expert"])
def test_show_prints_a_source_as_it_is(which):
    assert invoke("show", "softmax", f"--{which}") == (
        0,
        getattr(triton_gym.load("softmax"), which),
    )


def test_eval_says_whether_a_kernel_is_right(tmp_path, stubbed):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(triton_gym.load("softmax").starter)
    bad.write_text("def softmax(:")
    code, output = invoke("eval", KERNEL, good)
    assert code == 0
    assert "correct" in output
    code, output = invoke("eval", "softmax", bad, "--json")
    assert code == 1
    assert json.loads(output)["status"] == "compile_error"
    assert json.loads(output)["speedup"] is None


def test_bench_compares_starter_and_expert(monkeypatch, stub):
    from triton_gym.evaluation.service import pool

    monkeypatch.setattr(pool, "evaluator_for", lambda device: stub)
    code, output = invoke("times", "softmax")
    assert code == 0
    assert "starter" in output
    assert "expert" in output
    assert "PyTorch (eager): 20.00 µs" in output


def test_run_shows_start_and_best_and_resumes(tmp_path, stubbed):
    out = tmp_path / "run"
    code, output = invoke("run", "evolution", KERNEL, "--steps", 6, "--device", "simulated",
                          "--out", out, "--env-arg", "max_turns=3")  # fmt: skip
    assert code == 0
    for part in ("start", "best (step", "time", "speedup", "roofline", "registers", str(out)):
        assert part in output
    assert (out / "best.py").exists()
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((out / "config.json").read_text())
    assert config["options"] == {"reward": "kevin", "max_turns": 3, "device": "simulated:h100"}
    code, output = invoke("run", "--resume", out, "--steps", 8)
    assert code == 0
    assert "going on after step 6" in output
    assert len((out / "steps.jsonl").read_text().splitlines()) == 9
    code, _ = invoke("run", "evolution", "softmax", "--resume", out, "--device", "simulated")
    assert code == 0
    with pytest.raises(triton_gym.RunError, match="agent was 'evolution', now 'random'"):
        invoke("run", "random", KERNEL, "--resume", out)


def test_an_interrupted_run_says_how_to_go_on(tmp_path, stubbed, monkeypatch):
    evaluate, calls = stubbed.evaluate, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    monkeypatch.setattr(stubbed, "evaluate", interrupted)
    out = tmp_path / "run"
    code, output = invoke("run", "random", KERNEL, "--device", "simulated", "--out", out)
    assert code == 130
    assert f"--resume {out}" in "".join(output.split("\n"))
    assert len((out / "steps.jsonl").read_text().splitlines()) == 3


def failing(monkeypatch, after):
    """The disk is full from a number of writes on."""
    from triton_gym.runs import folder

    real, writes = folder.write_whole, []

    def full(path, content):
        writes.append(path)
        if len(writes) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, content)

    monkeypatch.setattr(folder, "write_whole", full)


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_a_full_disk_is_said_and_what_was_recorded_is_kept(after, tmp_path, stubbed, monkeypatch):
    out = tmp_path / "made" / "run"
    failing(monkeypatch, after)
    with pytest.raises(triton_gym.RunError, match=r"No space left on device.*--resume"):
        invoke("run", "random", "softmax", "--device", "simulated", "--out", out)
    assert out.exists() == out.parent.exists() == (after > 2)  # before, nothing lies in it
    if out.exists():
        monkeypatch.undo()
        assert (out / "steps.jsonl").read_text().count("\n") >= 1


def test_a_run_whose_folder_is_removed_says_so(tmp_path, stubbed, monkeypatch):
    out, evaluate = tmp_path / "run", stubbed.evaluate

    def removing(*arguments, **options):
        if len(stubbed.sources) == 2:
            shutil.rmtree(out)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(stubbed, "evaluate", removing)
    with pytest.raises(triton_gym.RunError, match="No such file or directory"):
        invoke("run", "random", "softmax", "--steps", 4, "--device", "simulated", "--out", out)


def test_a_refused_run_leaves_no_folder(tmp_path, stubbed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["ppo", "TritonKernel-softmax-v0"], ["random", "softmax", "--env-arg", "color=red"],
        ["random", "softmax", "--env-arg", "max_turns=0"], ["random", "softmax", "--reward", "my:f"],
        ["random", "softmax", "--env-arg", "baseline=jit"], ["random", "sofmax"],
        ["os:getcwd", "softmax"], ["os:path", "softmax"], ["math:sin", "softmax"],
    ):  # fmt: skip
        with pytest.raises(triton_gym.InvalidOptionError):
            invoke("run", *arguments, "--device", "simulated")
        assert not list(tmp_path.iterdir()), arguments


@pytest.mark.parametrize(
    "config", ["{", "[1]", '{"agent": "random"}', '"x"', "\xff", '{"agent": 1, "env": "e", "steps": 2}',
               '{"agent": "random", "env": "TritonKernel-softmax-v0", "steps": "2"}',
               '{"agent": "random", "env": "TritonKernel-softmax-v0", "steps": 0}',
               '{"agent": "random", "env": "TritonKernel-softmax-v0", "steps": 2, "seed": -1}',
               "[" * 100_000],
)  # fmt: skip
def test_a_damaged_run_folder_says_so(config, tmp_path):
    (tmp_path / "config.json").write_bytes(config.encode("latin-1"))
    with pytest.raises(triton_gym.RunError, match=r"config\.json"):
        invoke("run", "--resume", tmp_path)
    with pytest.raises(triton_gym.RunError, match="not a run folder"):
        invoke("run", "--resume", tmp_path / "config.json")


def test_a_reward_of_ones_own_is_named_like_an_agent(tmp_path, stubbed, monkeypatch):
    (tmp_path / "my_rewards.py").write_text("def ten(outcome):\n    return 10.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "run"
    code, _ = invoke("run", "random", "softmax", "--steps", 1, "--device", "simulated",
                     "--reward", "my_rewards:ten", "--out", out)  # fmt: skip
    assert code == 0
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert [step["reward"] for step in steps] == [10.0, 10.0]
    with pytest.raises(triton_gym.InvalidOptionError, match="my_rewards"):
        invoke("run", "random", "softmax", "--reward", "my_rewards:nine", "--device", "simulated")


def test_an_agent_found_where_one_stands_is_ended_by_sigterm_as_by_ctrl_c(tmp_path):
    (tmp_path / "my_module.py").write_text(
        "class MyAgent:\n"
        "    def __init__(self, env, seed): pass\n"
        "    def act(self, observation, info): return observation['kernel']\n"
    )
    out = Path("runs", f"my_module.MyAgent-{KERNEL}-seed0")
    code = "from triton_gym.cli import main; main()"
    command = ["run", "my_module:MyAgent", KERNEL, "--steps", "100000", "--device", "simulated"]
    running = subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / out / "best.py").exists() and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.1)
    running.terminate()
    told, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"--resume {out}" in "".join(told.split("\n"))
    assert (tmp_path / out / "summary.json").exists()


def test_a_run_without_matplotlib_says_so(tmp_path, stubbed, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, output = invoke("run", "random", KERNEL, "--steps", 1, "--device", "simulated",
                          "--out", tmp_path / "run")  # fmt: skip
    assert code == 0
    assert "triton-gym[report]" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "sofmax"], "Did you mean 'softmax'"),
        (["envs", "--tag", "matrx"], "Did you mean 'matrix'"),
        (["eval", KERNEL, "nowhere.py"], "Cannot read the kernel"),
        (["run", "evolution"], "Give an agent and an environment"),
        (["run", "evolutoin", KERNEL], "Did you mean 'evolution'"),
        (["run", "random", "TritonKernal-softmax-v0"], "Did you mean 'TritonKernel-softmax-v0'"),
        (["run", "random", KERNEL, "--env-arg", "max_turns"], "key=value"),
        (["run", "--resume", "nowhere"], "not a run folder"),
        (["score", "expert", "softmax", "--best-known", "no.json"], "is no table"),
        (["score", "expert", "softmax", "--env-arg", "a=1"], "is for models"),
        (["score", "expert", "softmax", "--out", "/dev/null/x.json"], "Cannot write"),
        (["score", "expert", "softmax", "--reward", "kevni"], "Did you mean 'kevin'"),
        (["bench", "random", "softmax", "--split", "leave-one-ot"], "Did you mean 'leave-one-out'"),
        (["run", "--resume", "nowhere", "--out", "here"], "leave --out away"),
        (["run", "random", KERNEL, "--device", "tpu"], "is not a device"),
    ],
)
def test_mistakes_of_the_caller(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("triton_gym.cli.answers.evaluated", None)  # refused before it takes time
    with pytest.raises(triton_gym.TritonGymError, match=told):
        invoke(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_ascii_terminal_is_shown_what_it_can_show(tmp_path):
    kernel = tmp_path / "kernel.py"
    source = triton_gym.load("softmax").starter
    kernel.write_text(f"# é µ \u2028\n{source}\nwrong = (", encoding="utf-8")
    ascii_only = {
        **os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C",
    }  # fmt: skip
    for command, told in (
        (["show", "softmax"], "rows=4096"),
        (["envs"], "TritonKernel-softmax-v0"),
        (["show", "softmax", "--starter"], "def softmax"),
        (["eval", "softmax", str(kernel), "--device", "simulated"], "invalid_action"),
        (["eval", "softmax", str(tmp_path / "µé\udcff.py")], "error: Cannot read the kernel"),
    ):
        done = console(*command, cwd=tmp_path, env=ascii_only)
        assert "Traceback" not in done.stderr, done.stderr
        assert told in done.stdout + done.stderr
        assert (done.stdout + done.stderr).isascii()


def test_the_nearest_thing_is_written_for_what_an_encoding_lacks():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    printing.show_anywhere(stream)
    stream.write("1.2 µs, 3×, é … ✓ 漢 \udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"1.2 us, 3x, e ... + ? ?"


def test_a_mistake_is_one_line_and_code_2():
    done = console("show", "sofmax")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown task 'sofmax'")
    assert "Traceback" not in done.stderr
    assert console("show", "--no-such-option").returncode == 2


def test_doctor_names_every_part_and_what_it_costs():
    code, output = invoke("doctor", "--json", "--quick")
    findings = {finding["part"]: finding for finding in json.loads(output)}
    assert code == 0
    assert {"Python", "torch", "triton", "NVIDIA driver", "ptxas", "no_new_privs",
            "files confined", "system calls filtered", "matplotlib"} <= set(findings)  # fmt: skip
    assert all(f["cost"] for f in findings.values() if not f["ok"])
