"""The forms of other suites' problems, in files of our own: each becomes a task that can be judged."""

from __future__ import annotations

import json

import pytest
import torch

from triton_gym import InvalidTaskError, suites
from triton_gym.evaluation import check
from triton_gym.evaluation.modules import bind

CPU = torch.device("cpu")


def arguments(task, seed, case=None):
    return check.draw_inputs(task, case or task.tiny[0], seed, CPU)


def result(task, given, case=None):
    return check.reference(bind(task, case or task.tiny[0], 1), given)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    return root


GROUPS = """
import json, os, torch

class Model(torch.nn.Module):
    def forward(self, x, scale, bias=None):
        y = x * scale
        return y if bias is None else y + bias

def get_input_groups():
    path = os.path.join(os.path.dirname(__file__), "1_scale.json")
    with open(path) as file:
        cases = [json.loads(line) for line in file if line.strip()]
    groups = []
    for case in cases:
        x = torch.randn(case["shape"], dtype=getattr(torch, case["dtype"]))
        groups.append([x, case["scale"], torch.randn(case["shape"][-1:])])
    return groups

def get_init_inputs():
    return []
"""


def test_groups_of_inputs_are_cases(tmp_path):
    lines = [
        {"shape": [4, 8], "dtype": "float16", "scale": 2.0},
        {"shape": [512, 1024], "dtype": "float32", "scale": 3.0},
        {"shape": [16, 16], "dtype": "float32", "scale": 0.5},
    ]
    write(tmp_path, {
        "reference/level0/1_scale.py": GROUPS,
        "reference/level0/1_scale.json": "\n".join(map(json.dumps, lines)),
        "reference/level0/_helper.py": "",
    })  # fmt: skip
    (problem,) = suites.load("multikernelbench", tmp_path)
    task = problem.task()
    assert task.name == "multikernelbench_level0_1_scale"
    assert [case["group"] for case in task.bench] == [2]
    assert {case["group"] for case in task.tiny} == {1, 3}
    x, scale, bias = arguments(task, 0, task.bench[0])
    assert (x.shape, scale, bias.shape) == ((512, 1024), 3.0, (1024,))


FORWARD = """
import torch

def forward_fn(x, weights):
    return torch.relu(x @ weights.T)

class Model(torch.nn.Module):
    def __init__(self, features: int = 256, outputs: int = 128, how: str = "normal"):
        super().__init__()
        assert how == "uniform"
        self.weights = torch.nn.Parameter(torch.rand(outputs, features) - 0.5)

    def forward(self, x, fn=forward_fn):
        return fn(x, self.weights)

def get_inputs(batch_size: int = 32, features: int = 256):
    return [torch.randn(batch_size, features)]

input_names = ["x"]
"""


def test_functions_with_sizes_in_json(tmp_path):
    config = {
        "single_input_configs": [{"batch_size": 2048}],
        "single_init_configs": [{"how": "uniform"}],
        "single_shared_configs": [{"features": 512}],
    }
    write(tmp_path, {
        "tasks/linear/func_forward.py": FORWARD, "tasks/linear/config_forward.json": config,
        "tasks/linear/func_backward.py": FORWARD, "tasks/linear/config_backward.json": config,
    })  # fmt: skip
    backward, forward = sorted(suites.load("robust-kbench", tmp_path), key=lambda p: p.key)
    task = forward.task()
    assert dict(task.bench[0].sizes) == {"features": 512, "outputs": 128, "batch_size": 2048}
    assert task.entry.parameters == ("x",)
    assert task.init(task.bench[0]) == (512, 128, "uniform")
    task = backward.task()
    assert task.entry.parameters == ("gradient", "x", "weights")
    gradient, x, weights = arguments(task, 0)
    held = gradient * (x @ weights.T > 0)
    found = result(task, (gradient, x, weights))
    torch.testing.assert_close(found, (held @ weights, held.T @ x))


FUNCTION = """
import torch

def scaled(input, factor=1.0, rounding="none", *, dim=None, out=None):
    y = input * factor
    y = y.round() if rounding == "nearest" else y
    return y if dim is None else y.sum(dim)

##################################################

import torch
from scaled import scaled

def test_scaled():
    results = {}
    results["1"] = scaled(torch.randn(5, 3, device="cuda"))
    results["2"] = scaled(torch.tensor([[1.0, 2.0], [3.0, 5.0]], device="cuda"), 2.0, dim=1)
    results["3"] = scaled(torch.randn(64, device="cuda"), factor=8.0, rounding="nearest")
    results["4"] = scaled(torch.ones(()).cuda() * 0, 3.0)
    print(results)
    return results

test_results = test_scaled()
"""


def test_calls_of_tests_are_cases(tmp_path, capsys):
    write(tmp_path, {"data/TritonBench_T_v1/scaled.py": FUNCTION})
    (problem,) = suites.load("tritonbench-t", tmp_path)
    task = problem.task()
    assert task.entry.parameters == ("input", "factor", "rounding", "dim")
    assert {case["call"] for case in task.tiny} == {1, 2, 3}
    assert "1 of its 4 cases" in task.notes[0]
    third = next(case for case in task.tiny if case["call"] == 3)
    assert arguments(task, 0, third)[1:] == (8.0, "nearest", None)
    written = next(case for case in task.tiny if case["call"] == 2)
    one, other = (arguments(task, seed, written) for seed in (1, 2))
    assert not torch.equal(one[0], other[0]), "what a test writes out is drawn anew"
    assert 1.0 <= float(one[0].min()) <= float(one[0].max()) <= 5.0
    (summed,) = result(task, one, written)
    torch.testing.assert_close(summed, one[0].sum(1) * 2)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("y = input * factor", "return object()", "must return tensors"),
        ('results["1"]', "raise KeyError('x')\n    results[\"1\"]", "KeyError"),
        ("input * factor", "torch.rand_like(input)", "random"),
    ],
)
def test_functions_that_cannot_be_tasks_say_why(tmp_path, old, new, told):
    assert old in FUNCTION
    write(tmp_path, {"data/TritonBench_T_v1/scaled.py": FUNCTION.replace(old, new, 1)})
    (problem,) = suites.load("tritonbench-t", tmp_path)
    with pytest.raises(InvalidTaskError, match=told):
        problem.task()
