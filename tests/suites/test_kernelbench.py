"""KernelBench's format: problems of our own in it become tasks, the rest is refused clearly."""

from __future__ import annotations

import random
import sys

import cloudpickle
import gymnasium
import pytest
import torch

import triton_gym
from triton_gym import InvalidTaskError
from triton_gym.suites import kernelbench
from triton_gym.suites.shrinking import TINY_ELEMENTS

PROBLEM = '''
import torch
import torch.nn as nn


class Model(nn.Module):
    """Scales the columns and adds a row."""

    def __init__(self, features, factor):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(features))
        self.factor = factor

    def forward(self, x: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return x * self.scale * self.factor + row


batch_size = 4096
features = 1024 * 2
shape = (features,)


def get_inputs():
    return [torch.rand(batch_size, features), torch.rand(*shape)]


def get_init_inputs():
    return [features, 3.0]
'''
ANSWER = """
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def scale_kernel(x, s, r, y, cols, factor, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    at = tl.program_id(0).to(tl.int64) * cols + i
    v = tl.load(x + at, mask=i < cols) * tl.load(s + i, mask=i < cols) * factor
    tl.store(y + at, v + tl.load(r + i, mask=i < cols), mask=i < cols)


class ModelNew(nn.Module):
    def __init__(self, features, factor):
        super(ModelNew, self).__init__()
        self.scale = nn.Parameter(torch.rand(features))
        self.factor = factor

    def forward(self, x, row):
        y = torch.empty_like(x)
        scale_kernel[(x.shape[0],)](
            x, self.scale, row, y, x.shape[1], self.factor, triton.next_power_of_2(x.shape[1])
        )
        return y
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout") / "KernelBench" / "level1"
    folder.mkdir(parents=True)
    file = folder / "7_Scale_columns.py"
    file.write_text(PROBLEM)
    return file


@pytest.fixture(scope="module")
def task(path):
    return kernelbench.load(path)


def test_a_problem_is_a_task(task):
    assert task.name == "level1_7_scale_columns"
    assert task.entry.parameters == ("x", "row")
    (bench,) = task.bench
    assert dict(bench.sizes) == {"batch_size": 4096, "features": 2048, "shape.0": 2048}
    assert task.min_bytes(bench) == 4 * (2 * 4096 * 2048 + 2048 + 2048)
    assert task.init(bench) == (2048, 3.0)
    assert "class Model" in task.statement
    assert "ModelNew" in task.signature


def test_what_a_problem_does_not_use_need_not_be_read(path, tmp_path):
    file = tmp_path / path.name
    file.write_text(PROBLEM.replace(" + row", "").replace("* self.scale ", ""))
    task = kernelbench.load(file)
    assert task.entry.parameters == ("x", "row")
    assert task.min_bytes(task.bench[0]) == 4 * 2 * 4096 * 2048


def test_it_is_made_smaller_for_the_interpreter(task):
    rng = random.Random(0)
    for case in (*task.tiny, task.draw(rng, tiny=True)):
        assert case["features"] == case["shape.0"] >= 16
        assert 2 * case["batch_size"] * case["features"] <= TINY_ELEMENTS
    assert len(set(task.tiny)) == len(task.tiny) > 1
    assert task.draw(rng, tiny=False) == task.bench[0]


def test_inputs_come_from_the_generator_alone(task):
    def draw(seed):
        return task.inputs(task.tiny[0], torch.Generator().manual_seed(seed))

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert torch.equal(draw(1)[0], draw(1)[0])
    assert not torch.equal(draw(1)[0], draw(2)[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_crosses_processes(task):
    again = cloudpickle.loads(cloudpickle.dumps(task))
    assert again.bench == task.bench
    assert again.min_bytes(task.bench[0]) == task.min_bytes(task.bench[0])


def test_an_answer_is_evaluated(task, evaluator):
    outcome = evaluator.evaluate(task, ANSWER)
    assert outcome.correct, outcome.message
    wrong = evaluator.evaluate(task, ANSWER.replace("* factor", "* 2.0"))
    assert str(wrong.status) == "incorrect"
    lazy = ANSWER.replace("return y", "return x * self.scale * self.factor + row")
    assert str(evaluator.evaluate(task, lazy).status) == "rejected"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("def get_inputs", "def other", "no problem of KernelBench"),
        (
            "import torch\n",
            "import torch\nimport a_package_of_nobody\n",
            "pip install a_package_of",
        ),
        ("features = 1024 * 2", "features = 1024 // 0", r"division.*\(line 19\)"),
        ("x * self.scale", "torch.dropout(x, 0.5, True) * self.scale", "random"),
        ("+ row", "+ row / 0", "not finite"),
        ("+ row", "+ row.view(-1, 7919)", r"The reference of .* fails: .*\(line 15\)"),
        (
            "x * self.scale * self.factor + row",
            "x * 0 + 1",
            "the result of other inputs would pass",
        ),
        ("[features, 3.0]", "[features, torch.ones(1)]", "constructor must be numbers"),
        ("import torch\n", "import torch\nexit(3)\n", r"does not run: SystemExit.*\(line 3\)"),
        ("+ row", "+ exit(3)", r"fails: SystemExit.*\(line 15\)"),
        ("x * self.scale * self.factor + row", "'text'", "neither a number nor a tensor"),
    ],
)
def test_what_cannot_be_a_task_is_refused(path, tmp_path, old, new, told):
    file = tmp_path / "1_Broken.py"
    file.write_text(PROBLEM.replace(old, new))
    with pytest.raises(InvalidTaskError, match=told):
        kernelbench.load(file)


def _with(path, tmp_path, *changes):
    file = tmp_path / "1_Changed.py"
    source = PROBLEM
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    file.write_text(source)
    return kernelbench.load(file)


def test_numbers_in_the_functions_that_draw_are_sizes_too(path, tmp_path):
    task = _with(path, tmp_path, ("torch.rand(batch_size, features)", "torch.rand(4096, 2048)"))
    assert task.bench[0]["get_inputs.0"] == 4096
    assert task.tiny[0]["get_inputs.1"] == task.tiny[0]["features"] < 2048
    assert task.inputs(task.bench[0], torch.Generator())[0].shape == (4096, 2048)


@pytest.mark.parametrize(
    ("init", "inputs"),
    [
        ("{'factor': 3.0, 'features': features}", "{'row': ROW, 'x': X}"),
        ("[[features], {'factor': 3.0}]", "[[X], {'row': ROW}]"),
        ("[[], {'features': features, 'factor': 3.0}]", "(X, ROW)"),
        ("[np.int64(features), np.float32(3.0)]", "(one for one in (X, ROW))"),
    ],
)
def test_arguments_may_be_given_by_name(path, tmp_path, init, inputs):
    inputs = inputs.replace("X", "torch.rand(batch_size, features)")
    task = _with(
        path, tmp_path, ("return [features, 3.0]", f"return {init}"),
        ("return [torch.rand(batch_size, features), torch.rand(*shape)]",
         f"return {inputs.replace('ROW', 'torch.rand(*shape)')}"),
        ("import torch\n", "import numpy as np\nimport torch\n"),
    )  # fmt: skip
    case = task.tiny[0]
    assert task.init(case) == (case["features"], 3.0)
    assert task.entry.parameters == ("x", "row")
    assert [x.dim() for x in task.inputs(case, torch.Generator())] == [2, 1]


def test_arguments_by_a_name_that_there_is_not_are_refused(path, tmp_path):
    for named, told in (("{'feature': 3}", "'feature'"), ("{'factor': 3.0}", "'features'")):
        with pytest.raises(InvalidTaskError, match=f"Model has no parameter {told}"):
            _with(path, tmp_path, ("return [features, 3.0]", f"return {named}"))


def test_a_file_may_define_data_classes(path, tmp_path):
    """They look their module up by its name."""
    head = (
        "from __future__ import annotations\nfrom dataclasses import KW_ONLY, dataclass\n"
        "@dataclass\nclass Config:\n    factor: float = 3.0\n    _: KW_ONLY\n    more: int = 1\n"
    )
    task = _with(
        path, tmp_path, ("self.factor = factor", "self.factor = Config(factor).factor"),
        ("\nimport torch\n", f"\n{head}import torch\n"),
    )  # fmt: skip
    assert task.tiny[0]["features"] < 2048
    assert "problem" not in sys.modules


def test_a_constant_that_the_model_reads_stays(path, tmp_path):
    task = _with(path, tmp_path, ("* self.factor + row", "* batch_size + row"))
    assert all("batch_size" not in case.sizes for case in task.tiny)


def test_a_problem_without_small_shapes_is_a_task_that_says_so(path, tmp_path):
    task = _with(
        path, tmp_path, ("features = 1024 * 2", "features = 1 << 16"),
        ("* self.factor + row", "* self.factor + row.reshape(1 << 16)"),
    )  # fmt: skip
    assert task.tiny[0]["features"] == 1 << 16
    assert "interpreter may not get through" in task.notes[0]


def test_a_reference_that_looks_at_values_is_a_task(path, tmp_path):
    looks = "row.reshape(1 << 16) * (2 if row[0] >= 0 else 1)"
    task = _with(
        path, tmp_path, ("features = 1024 * 2", "features = 1 << 16"),
        ("* self.factor + row", f"* self.factor + {looks}"),
    )  # fmt: skip
    assert task.tiny[0]["features"] == 1 << 16
    number = _with(path, tmp_path, ("self.factor + row", "self.factor + row).sum().item()"),
                   ("return x", "return (x"))  # fmt: skip
    assert number.tiny[0]["batch_size"] < 4096


def test_a_byte_order_mark_is_no_text(tmp_path):
    file = tmp_path / "1_Marked.py"
    file.write_text(PROBLEM, encoding="utf-8-sig")
    assert kernelbench.load(file).statement.isascii()
    file.write_text(PROBLEM + "# é\n", encoding="latin-1")
    with pytest.raises(InvalidTaskError, match="not UTF-8"):
        kernelbench.load(file)


def test_inputs_keep_their_dtypes_and_forms(path, tmp_path):
    task = _with(
        path, tmp_path, ("row: torch.Tensor", "*rest"), ("+ row", "+ rest[0][0] + rest[2].sum()"),
        ("torch.rand(*shape)]", "[torch.rand(*shape).half()], None, torch.arange(3)]"),
    )  # fmt: skip
    assert task.entry.parameters == ("x", "rest0", "rest1", "rest2")
    x, (row,), nothing, numbers = task.inputs(task.tiny[0], torch.Generator())
    assert (x.dtype, row.dtype, numbers.dtype) == (torch.float32, torch.float16, torch.int64)
    assert nothing is None


def test_what_can_be_judged_after_all_says_how(path, tmp_path):
    cut_off = _with(path, tmp_path, ("+ row", "+ row - 20).relu()"), ("return x", "return (x"))
    assert "multiplied by 16" in cut_off.notes[0]
    assert "multiplied by 16" in cut_off.statement
    dropping = _with(
        path, tmp_path, ("self.factor = factor", "self.factor = factor; self.d = nn.Dropout()"),
        ("return x", "return self.d(x)"),
    )  # fmt: skip
    assert "dropout is off" in dropping.notes[0]
    weak = _with(path, tmp_path, ("+ row", "+ row * 0.001 + 1000"))
    assert "hardly depends" in weak.notes[0]


def test_what_its_own_parameters_leave_nothing_of_is_refused(path, tmp_path):
    for judges_nothing in ("self.norm(x).mean(1)", "x * self.zero"):
        with pytest.raises(InvalidTaskError, match=r"would pass|hardly more than rounding"):
            _with(
                path, tmp_path, ("self.factor = factor", "self.factor = factor; "
                "self.norm = nn.LayerNorm(features); self.zero = nn.Parameter(torch.zeros(1))"),
                ("return x * self.scale * self.factor + row", f"return {judges_nothing}"),
            )  # fmt: skip


def test_weights_that_are_not_here_are_named(path, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(InvalidTaskError, match="needs the weights of nobody/a-model"):
        _with(
            path, tmp_path, ("import torch\n", "import torch\nfrom transformers import AutoModel\n"),
            ("class Model", "name = 'nobody/a-model'\nm = AutoModel.from_pretrained(name)\nclass Model"),
        )  # fmt: skip


def test_a_checkout_is_registered(path, monkeypatch):
    # Other tests look at what is registered.
    monkeypatch.setattr("triton_gym.registration._own", {})
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gymnasium.registry))
    (path.parent / "8_Broken.py").write_text("x = 1")
    found = kernelbench.register_all(path.parents[2], levels=(1,))
    assert found.ids == ("TritonKernel-level1_7_scale_columns-v0",)
    assert [str(path.parent / "8_Broken.py")] == list(found.refused)
    assert "level1_7_scale_columns" in triton_gym.tasks()
    with pytest.raises(InvalidTaskError, match="checkout of KernelBench"):
        list(kernelbench.files(path.parent, levels=(1,)))
