"""What all suites share: problems are listed without being loaded, split, registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import gymnasium
import pytest

from triton_gym import InvalidOptionError, InvalidTaskError, suites
from triton_gym.suites.splits import groups_of, split

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


@pytest.mark.parametrize(
    ("top", "told"),
    [
        (b"import sys; sys.exit(3)", "SystemExit"),
        (b"import os; os._exit(3)", r"os\._exit\(3\)"),
        (b"import os; os.fork()", "may not fork"),
        (b"class B(BaseException): pass\nraise B('its own')", "B: its own"),
        (b"import time; time.sleep(600)", "takes more than 0.2 s"),
        (b"input()", "EOFError"),
        (b"x = 1\0", "null bytes"),
        (b"# \xe9", "is not UTF-8"),
        (b"def (", "SyntaxError"),
        (None, "is no file"),
    ],
)
def test_a_damaged_problem_says_why_and_the_rest_are_listed(tmp_path, top, told):
    folder = tmp_path / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    path = folder / "1_damaged.py"
    if top is None:
        os.mkfifo(path)
    else:
        path.write_bytes(top)
    (folder / "2_exp.py").write_text(PROBLEM.format(name="exp", rows=10))
    suite = suites.load("kernelbench", tmp_path)
    assert sum(map(len, suite.split())) == 2
    with pytest.raises(InvalidTaskError, match=rf"1_damaged.*{told}"):
        suite[0].task(0.2 if top and b"sleep" in top else 600)


def test_what_a_file_does_to_the_process_is_undone(tmp_path, capfd):
    folder = tmp_path / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    top = "import os; os.unlink(__file__) if os.path.isfile(__file__) else None; os.chdir('/')\n"
    source = f"# -*- coding: latin-1 -*-\n{top}print('noise')  # \xe9\n{OTHER}"
    (folder / "1_a b.py").write_bytes(source.replace("\n", "\r\n").encode("latin-1"))
    before = os.getcwd()
    suites.load("kernelbench", tmp_path)[0].task()
    assert os.getcwd() == before
    assert "noise" not in capfd.readouterr().out


def test_keys_and_ids_are_distinct(tmp_path, monkeypatch):
    monkeypatch.setattr("triton_gym.registration._own", {})
    monkeypatch.setattr("triton_gym.registration._lazy", {})
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gymnasium.registry))
    folder = tmp_path / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    for name in ("1_a b.py", "1_a_b.py", "2_\u00b2\u0130.py", "3_\udcff.py"):
        (folder / name).write_text(PROBLEM.format(name="exp", rows=10))
    suite = suites.load("kernelbench", tmp_path)
    ids = suite.register()
    assert len(set(ids)) == len({p.key for p in suite}) == 4
    assert set(ids) <= set(gymnasium.envs.registration.registry)
    assert all(p.key.encode() for p in suite)
    assert suite[1].task().name == suite[1].name


@pytest.mark.parametrize("path", ["~nobody_of_this_name/x", "a\0b", "x" * 5000, None, __file__])
def test_a_path_that_is_none_is_told(path):
    with pytest.raises(InvalidOptionError):
        suites.load("kernelbench", path)


TWIN = """
import torch.nn.functional as functional

LENGTH = 77

def get_init_inputs():
    'Nothing is needed.'
    return []

class Network(torch.nn.Module):
    def forward(this, value):
        result = functional.gelu(value)  # activates
        return result - result.mean(-1)

def get_inputs():
    return [torch.rand(LENGTH, 9)]
"""
ONE = """
import torch.nn.functional as F

class Model(torch.nn.Module):
    def forward(self, x):
        y = F.gelu(x)
        return y - y.mean(-1)

def get_inputs():
    return [torch.rand(rows, 64)]

def get_init_inputs():
    return []

rows = 16
"""


def test_twins_are_found_whatever_their_names_and_order_and_stay_on_their_side():
    def told(key, text):
        return SimpleNamespace(suite="s", key=key, text=lambda: text)

    one, twin = told("b", ONE), told("a", TWIN)
    words = [told("add", "add"), told("mul", "mul")]
    assert len(groups_of([one, twin])) == 1
    assert len(groups_of([one, told("c", ONE.replace("F.gelu(x)", "x @ x.T + x.sum()"))])) == 2
    assert len(groups_of(words)) == 2
    for share in (0.2, 0.5, 0.8):
        whole = {p.key for p in split([one, twin, *words], share)[1]}
        for some in ([one, *words], [twin, *words], [twin, one]):
            assert {p.key for p in split(some, share)[1]} == whole & {p.key for p in some}


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 100_000, '{"a": ' + "9" * 9000 + "}", "\ufeff{}"]
)
def test_damaged_json_costs_no_listing(tmp_path, text):
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "one.json").write_text(text, encoding="utf-8")
    (suite,) = suites.load("flashinfer-bench", tmp_path).groups()
    with pytest.raises(
        InvalidTaskError, match=r"one\.json (is no JSON|holds no object|is no defini)"
    ):
        suite[0].task()
