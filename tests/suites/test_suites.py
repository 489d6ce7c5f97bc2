"""What all suites share: problems are listed without being loaded, split, registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import gymnasium
import pytest

from triton_gym import InvalidOptionError, InvalidTaskError, suites

PROBLEM = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.{name}(x)

rows = {rows}

def get_inputs():
    return [torch.rand(rows, 64)]

def get_init_inputs():
    return []
"""
OTHER = """
import torch

class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x):
        y = self.linear(x)
        return (y - y.mean(-1, keepdim=True)).relu()

def get_inputs():
    return [torch.rand(128, 256)]

def get_init_inputs():
    return [256]
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    for number, name in enumerate(("exp", "exp", "tanh"), 1):
        (folder / f"{number}_{name}.py").write_text(PROBLEM.format(name=name, rows=10 * number))
    (folder / "4_linear.py").write_text(OTHER)
    (folder / "5_broken.py").write_text("import a_package_of_nobody")
    return root


def test_problems_are_listed_in_order_and_loaded_one_by_one(checkout):
    suite = suites.load("kernelbench", checkout)
    assert [p.key for p in suite][:2] == ["level1/1_exp", "level1/2_exp"]
    assert suite.ids[2] == "TritonKernel-level1_3_tanh-v0"
    assert suite.problem("level1/3_tanh").task().name == "level1_3_tanh"
    with pytest.raises(InvalidTaskError, match=r"5_broken.*a_package_of_nobody"):
        suite[4].task()
    loaded = suite.load()
    assert [task.name for task in loaded.tasks] == [p.name for p in suite[:4]]
    assert list(loaded.refused) == ["level1/5_broken"]


def test_a_mistake_says_what_is_allowed(checkout, tmp_path):
    with pytest.raises(InvalidOptionError, match="kernelbench"):
        suites.load("kernelbenhc", checkout)
    with pytest.raises(InvalidOptionError, match="no folder"):
        suites.load("kernelbench", checkout / "nowhere")
    for name in suites.SUITES:
        if name != "backendbench":  # PyTorch's own operators, whatever the folder
            with pytest.raises(InvalidOptionError, match=f"no problem of {name}"):
                suites.load(name, tmp_path)
    with pytest.raises(InvalidOptionError, match="level1/3_tanh"):
        suites.load("kernelbench", checkout).problem("level1/3_tahn")


def test_near_duplicates_never_straddle_a_split(checkout):
    suite = suites.load("kernelbench", checkout)
    together = [{p.key for p in group} for group in suite.groups()]
    assert {"level1/1_exp", "level1/2_exp"} <= together[0]
    assert "level1/4_linear" not in together[0]
    for share in (0.0, 0.3, 0.6, 1.0):
        train, test = suite.split(share)
        assert sorted(p.key for p in (*train, *test)) == sorted(p.key for p in suite)
        for group in together:
            assert group <= {p.key for p in train} or group <= {p.key for p in test}
    with pytest.raises(InvalidOptionError, match="between 0 and 1"):
        suite.split(20)


def test_registered_ids_make_environments(checkout, monkeypatch):
    monkeypatch.setattr("triton_gym.registration._own", {})
    monkeypatch.setattr("triton_gym.registration._lazy", {})
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gymnasium.registry))
    ids = suites.load("kernelbench", checkout).register()
    env = gymnasium.make(ids[0], device="simulated")
    _, info = env.reset(seed=0)
    assert (info["task"], info["notes"]) == ("level1_1_exp", "")
    with pytest.raises(InvalidTaskError, match="a_package_of_nobody"):
        gymnasium.make(ids[4], device="simulated")


def test_listing_loads_no_torch_and_works_from_the_command_line(checkout):
    code = (
        "import sys; from triton_gym import suites; "
        f"assert len(suites.load('kernelbench', {str(checkout)!r}).split()[0]) <= 5; "
        "assert 'torch' not in sys.modules; import gymnasium; "
        "assert 'TritonKernel-level1_3_tanh-v0' in gymnasium.registry"
    )
    variable = {**os.environ, "TRITON_GYM_SUITES": f"kernelbench={checkout}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=variable)
    command = [
        sys.executable, "-c", "from triton_gym.cli import main; main()", "envs", "--json",
        "--suite", "kernelbench", "--path", str(checkout),
    ]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = json.loads(out)
    assert [row["key"] for row in rows][2] == "level1/3_tanh"
    assert {row["split"] for row in rows} <= {"train", "test"}
