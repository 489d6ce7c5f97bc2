"""Every snippet of README, CONTRIBUTING, SECURITY and docs/ runs, or at least means something.

Python is executed, with the stub for an evaluator where it makes environments. Of shell, our own
commands are read by the command line's parser, and those that are cheap are run; other programs'
lines are held against what they name: targets, extras, scripts and their options.
"""

from __future__ import annotations

import ast
import concurrent.futures
import importlib.util
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import gymnasium as gym
import pytest
import torch
import typer
from typer.testing import CliRunner

import triton_gym
from triton_gym import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "tasks"
    ]  # made by `make docs`
    + [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
)
CHEAP = {"envs", "show", "eval", "run", "store"}
"""Commands that are run, unless a language model is to answer."""
OTHERS = {"git", "cd", "python3", "source", ".", "vllm"}
"""Programs of others, of which nothing is known here."""
PROBLEM = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

def get_inputs():
    return [torch.rand(16, 64)]

def get_init_inputs():
    return []
"""
"""A problem in KernelBench's form."""


def snippets(*languages):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def joined(text):
    """The lines of a text; one that ends with a backslash goes on in the next."""
    return re.sub(r"\\\n", " ", text).split("\n")


def commands():
    """Our commands and others, a line each, without comments."""
    indented = [
        pytest.param(line.strip(), id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, line in enumerate(joined(page.read_text(encoding="utf-8")), start=1)
        if line.startswith("    triton-gym ")
    ]
    return indented + [
        pytest.param(line.strip(), id=f"{block.id}:{number}")
        for block in snippets("bash", "sh", "shell")
        for number, line in enumerate(joined(block.values[0]), start=1)
        if line.strip() and not line.strip().startswith("#")
    ]


def example(name, folder=ROOT / "examples"):
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(opening):
    """What a page's words leave to the reader."""
    task, own = triton_gym.load("softmax"), example("custom_task")
    service = example("live_service")
    x, w = service.request("cpu", 8, 64)
    return {
        "gym": gym, "triton_gym": triton_gym, "Evaluator": opening,
        "concurrent": concurrent, "kernel_source": task.starter, "task": task,
        "sources": [task.starter], "reply": f"```python\n{task.starter}```",
        "draw": own.inputs, "STARTER": own.STARTER, "torch": torch, "x": x, "w": w,
        "rms_norm": service.rms_norm,
    }  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """What pages call `../KernelBench`."""
    folder = tmp_path / "KernelBench" / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    (folder / "19_ReLU.py").write_text(PROBLEM)
    return str(tmp_path / "KernelBench")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_snippet_is_hidden_from_these_tests(page):
    """Each block says what it is; what is neither code nor commands is checked by test_docs.py."""
    text = page.read_text(encoding="utf-8")
    languages = re.findall(r"^```([\w{}-]*).*\n[\s\S]*?^```$", text, re.MULTILINE)
    known = {"python", "bash", "text", "diff", "markdown", "{toctree}", "{include}", "{eval-rst}"}
    assert set(languages) <= known
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"\n\n    (?! )(\S.*)", prose)
    assert [line for line in indented if not line.startswith("triton-gym ")] == []


@pytest.mark.parametrize("code", snippets("python", "py"))
@pytest.mark.usefixtures("registry")
def test_python(code, opening, stubbed, checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = code.replace("../KernelBench", checkout)
    monkeypatch.setenv("TRITON_GYM_OPTIMIZE", "off")  # no search in the background of the others
    for module in ("ray", "stable_baselines3", "transformers", "trl"):
        if module in code or (module == "ray" and "Ray" in code):
            pytest.importorskip(module)
    if "recorded:tables" in code:
        from triton_gym.tables import files

        (tmp_path / "tables").mkdir()
        table = example("made_up", ROOT / "tests" / "tables").made_up()
        files.save(table, tmp_path / "tables" / "softmax.npz")
    code = re.sub(r'"(auto|cuda(:\w+)?)"', '"simulated"', code)
    exec(compile(code, "snippet", "exec"), names(opening))


@pytest.mark.parametrize("line", commands())
@pytest.mark.usefixtures("registry")
def test_shell(line, stubbed, checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_GYM_SUITES", f"kernelbench={checkout}")  # as a page exports it
    if "level1" in line:
        triton_gym.suites.register_from_environment()  # as the command does when it starts
    words = shlex.split(re.sub(r"\s#.*", "", line.replace("../KernelBench", checkout)))
    if words[0] == "export":
        assert words[1:] == [f"TRITON_GYM_SUITES={os.environ['TRITON_GYM_SUITES']}"]
        return
    while "=" in words[0]:  # a variable that is set for the command
        words = words[1:]
    for part in split(words):
        {
            "triton-gym": ours, "make": target, "pip": extras, "python": script, "pytest": script,
            "vf-eval": evaluation, "uvicorn": served, "openenv": validated,
        }.get(part[0], others)(part, tmp_path, monkeypatch)  # fmt: skip


def split(words):
    """The commands of a line that has `&&`, and each of `a | b`, which our pages use for "or"."""
    parts = [[]]
    for word in words:
        if word in ("&&", ";"):
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        if "|" in part:
            at = part.index("|")
            for choice in (part[at - 1], *part[at + 1 :: 2]):
                yield [*part[: at - 1], choice]
        else:
            yield part


def ours(words, tmp_path, monkeypatch):
    for name in ("my_kernel.py", "answer.py"):
        (tmp_path / name).write_text(triton_gym.load("softmax").starter)
    (tmp_path / "my_module.py").write_text(
        "class MyAgent:\n"
        "    def __init__(self, env, seed=0): pass\n"
        "    def act(self, observation, info): return observation['kernel']\n"
        "Doubler = MyAgent\n"
        "def my_reward(outcome): return 1.0\n"
        "import dataclasses, triton_gym\n"
        "task = dataclasses.replace(triton_gym.load('vector_add'), name='double_add')\n"
        "triton_gym.register(task)\n"
    )
    arguments = words[1:]
    parsed(arguments)
    model = any(word.startswith(("grpo:", "chat:", "best-of-n:")) for word in arguments)
    if arguments[0] not in CHEAP or model or "--help" in arguments:
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_module", raising=False)
    if arguments[0] == "run":
        if "ppo" in arguments or "dqn" in arguments or "a2c" in arguments:
            pytest.importorskip("stable_baselines3")
        if "--resume" in arguments:
            return
        arguments = [*arguments, "--device", "simulated", "--steps", "2"]
    if arguments[0] == "store":
        from triton_gym.evaluation.records.store import Store

        Store(tmp_path / "outcomes.db").close()
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)


def parsed(arguments):
    """Read arguments as the command line would, without doing anything."""
    command = typer.main.get_command(cli.app)
    context = command.make_context("triton-gym", list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        if rest[:1] == ["--help"]:
            return
        context = command.make_context(name, rest, parent=context)


def target(words, *_):
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for word in words[1:] if "=" not in word} <= set(rules)


def extras(words, *_):
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for word in words:
        for named in re.findall(r"(?:triton-gym|\.)\[([\w,]+)\]", word):
            assert set(named.split(",")) <= set(package["project"]["optional-dependencies"])
        if word.endswith(".txt"):
            assert (ROOT / word).is_file()


def script(words, *_):
    """A script of ours exists, and knows the options and words that it is given."""
    named = [word for word in words[1:] if word.endswith(".py")]
    for word in named:
        text = (ROOT / word).read_text(encoding="utf-8")
        ast.parse(text)
        for option in words[words.index(word) :]:
            if option.startswith("--"):
                plain = option.partition("=")[0]
                assert plain in text or plain.lstrip("-").replace("-", "_") in text, option
    if words[1:3] == ["-m", "venv"]:
        return
    assert named or words[1] == "-m" or words[0] == "pytest", words


def evaluation(words, *_):
    """Of verifiers' command the options that its test gives it, in an environment of its own."""
    test = (ROOT / "tests" / "integrations" / "test_verifiers.py").read_text(encoding="utf-8")
    assert [word for word in words[1:] if word.startswith("-") and f'"{word}"' not in test] == []
    assert (ROOT / "examples" / "environments" / words[1] / words[1]).is_dir()


def served(words, *_):
    module, _, name = words[1].partition(":")
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert f'if name == "{name}"' in path.read_text(encoding="utf-8")


def validated(words, *_):
    assert words[1] == "validate"
    assert all((ROOT / word).is_dir() for word in words[2:] if not word.startswith("-"))


def others(words, *_):
    assert words[0] in OTHERS or (ROOT / words[0]).exists(), words


def test_the_agent_of_the_contributors_page_changes_the_kernel(stub):
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = next(s for s in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
                if "class Doubler" in s)  # fmt: skip
    space: dict = {}
    exec(code, space)
    env = gym.make("TritonKernel-softmax-v0", evaluator=stub)
    triton_gym_agents = importlib.import_module("triton_gym.agents")
    triton_gym_agents.play(space["Doubler"](env, seed=0), env, 3, seed=0)
    assert len(set(stub.sources)) == 3
    assert "BLOCK=4096" in stub.sources[-1]
