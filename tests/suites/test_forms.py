"""The forms of other suites' problems, in files of our own: each becomes a task that can be judged."""

from __future__ import annotations

import json

import pytest
import torch

from triton_gym import InvalidTaskError, suites
from triton_gym.evaluation import check
from triton_gym.evaluation.modules import bind
from triton_gym.suites.execution import drawing

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


LOOKED_AT = """
import json, os, torch

class Model(torch.nn.Module):
    def forward(self, x, y):
        return torch.logical_and(x, y)

def get_input_groups():
    path = os.path.join(os.path.dirname(__file__), "2_and.json")
    with open(path) as file:
        cases = [json.loads(line) for line in file if line.strip()]
    groups = []
    for case in cases:
        x = torch.distributions.Uniform(0.0, 1.0).sample(case["shape"])
        x[x < 0.1] = 0.5
        if case["dtype"] == "bool":
            x = x > 0.5
        groups.append([x, torch.randn_like(x.float()) > 0 if case["dtype"] == "bool" else x + 1])
    return groups

def get_init_inputs():
    return []
"""


def test_groups_by_which_nothing_can_be_judged_do_not_cost_the_others(tmp_path):
    """Its inputs are looked at while they are drawn, and of most groups nothing is false."""
    lines = [{"shape": [4, i], "dtype": "float32"} for i in range(1, 13)]
    lines += [{"shape": [64, 64], "dtype": "bool"}, {"shape": [256, 512], "dtype": "bool"}]
    write(tmp_path, {
        "reference/level0/2_and.py": LOOKED_AT,
        "reference/level0/2_and.json": "\n".join(map(json.dumps, lines)),
    })  # fmt: skip
    (problem,) = suites.load("multikernelbench", tmp_path)
    task = problem.task()
    assert [case["group"] for case in task.bench] == [14]
    assert [case["group"] for case in task.tiny] == [13]
    assert "12 of its 14 cases are not judged" in "".join(task.notes)


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


POWERS = """
import torch

def powers(start, end, count):
    return 2.0 ** (start + (end - start) * torch.arange(count, device=start.device) / count)

##################################################

import torch

results = [
    powers(torch.tensor(1.0, device="cuda"), torch.tensor(3.0).cuda(), 5),
    powers(torch.tensor(0.0, device="cuda"), torch.tensor(4.0).cuda(), 8),
]
"""


def test_single_numbers_are_drawn_anew_where_there_is_nothing_else(tmp_path):
    write(tmp_path, {"data/TritonBench_T_v1/powers.py": POWERS})
    (problem,) = suites.load("tritonbench-t", tmp_path)
    task = problem.task()
    (start, end, count), (other, _, _) = arguments(task, 0), arguments(task, 1)
    assert start != other
    assert abs(start - 1) <= 0.5
    assert abs(end - 3) <= 1.5
    assert count == 5


STEP = """
import torch

def descended(model, x, loss, rate=0.5):
    optimizer = torch.optim.Adagrad(model.parameters(), lr=rate)
    value = loss(model(x))
    value.backward()
    optimizer.step()
    return value

##################################################

import torch

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4).eval())

    def forward(self, x):
        return self.inner(x)

class Squared(torch.nn.Module):
    def forward(self, y):
        return (y * y).mean()

def test_descended():
    for rate in (0.3, 0.1):
        model = Two().cuda()
        descended(model, torch.randn(5, 6, device="cuda"), Squared(), rate)

test_descended()
"""


def test_a_module_is_given_as_what_it_holds(tmp_path):
    write(tmp_path, {"data/TritonBench_T_v1/descended.py": STEP})
    (problem,) = suites.load("tritonbench-t", tmp_path)
    task = problem.task()
    assert "given as a dict" in task.statement
    model, x, loss, rate = given = arguments(task, 0)
    assert model["module"].startswith("Two(")
    assert loss == {"module": "Squared()"}
    assert rate == 0.3
    y = x @ model["inner.0.weight"].T + model["inner.0.bias"]
    wanted = ((y / (1 + 1e-5) ** 0.5) ** 2).mean()
    before = model["inner.0.weight"].clone()
    for _ in range(2):
        torch.testing.assert_close(result(task, given), (wanted,))
    assert torch.equal(model["inner.0.weight"], before), "a step changes the reference's own"
    assert not torch.equal(arguments(task, 1)[0]["inner.0.weight"], before)


FEW_RANDOM = """
import torch

def coin(x):
    return x.round().clamp(0, 1) + torch.bernoulli(torch.full((1,), 0.5, device=x.device))

##################################################

import torch

for i in range(6):
    coin(torch.randn(3, device="cuda"))
"""


def test_a_few_random_numbers_are_found_to_be_random(tmp_path):
    """Two draws of one coin are the same every other time."""
    write(tmp_path, {"data/TritonBench_T_v1/coin.py": FEW_RANDOM})
    (problem,) = suites.load("tritonbench-t", tmp_path)
    for _ in range(3):
        with pytest.raises(InvalidTaskError, match="random"):
            problem.task()


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


DEFINITION = {
    "name": "scaled_rows_h64", "op_type": "scale", "description": "Rows times a vector.",
    "axes": {
        "rows": {"type": "var"}, "hidden": {"type": "const", "value": 64},
        "twice": {"type": "expr", "expression": "rows * 2"},
    },
    "inputs": {
        "x": {"shape": ["twice", "hidden"], "dtype": "bfloat16"},
        "factor": {"shape": None, "dtype": "float32"},
        "where": {"shape": ["rows"], "dtype": "int64"},
    },
    "outputs": {"y": {"shape": ["rows", "hidden"], "dtype": "bfloat16"}},
    "custom_inputs_entrypoint": "make",
    "reference": "import torch\n\ndef make(axes, device):\n"
    "    return {'where': torch.randperm(axes['twice'], device=device)[: axes['rows']]}\n\n"
    "@torch.no_grad()\ndef run(x, factor, where):\n    assert x.shape[1] == 64\n"
    "    return x[where] * factor\n",
}  # fmt: skip


@pytest.mark.parametrize("suite", ["flashinfer-bench", "sol-execbench"])
def test_definitions_and_workloads(tmp_path, suite):
    sources = {"factor": {"type": "scalar", "value": 3.0}, "where": {"type": "custom"}}
    lines = [{"axes": {"rows": rows}, "inputs": sources} for rows in (5, 4096, 9)]
    if suite == "flashinfer-bench":
        lines = [{"definition": "scaled_rows_h64", "workload": line} for line in lines]
        names = ("definitions/scale/scaled.json", "workloads/scale/scaled.jsonl")
    else:
        names = ("problems/scaled/definition.json", "problems/scaled/workload.jsonl")
    write(tmp_path, dict(zip(names, (DEFINITION, "\n".join(map(json.dumps, lines))), strict=True)))
    (problem,) = suites.load(suite, tmp_path)
    task = problem.task()
    assert task.entry.name == "run"
    assert task.entry.parameters == ("x", "factor", "where")
    assert [case["rows"] for case in task.bench] == [4096]
    assert sorted(case["rows"] for case in task.tiny) == [5, 9]
    x, factor, where = arguments(task, 0)
    assert (x.dtype, tuple(x.shape), factor) == (torch.bfloat16, (10, 64), 3.0)
    torch.testing.assert_close(result(task, (x, factor, where)), (x[where] * 3.0,))


RAGGED = {
    "name": "ragged_mean", "op_type": "ragged", "description": "Means of ragged rows of pages.",
    "axes": {
        "rows": {"type": "var"}, "ends": {"type": "var"}, "used": {"type": "var"},
        "pages": {"type": "var"}, "width": {"type": "const", "value": 8},
        "page_size": {"type": "const", "value": 4},
    },
    "constraints": ["ends == rows + 1", "used == page_indptr[-1].item()", "used <= pages * ends"],
    "inputs": {
        "factor": {"shape": ["rows", "width"], "dtype": "float32"},
        "cache": {"shape": ["pages", "page_size", "width"], "dtype": "float32"},
        "page_indptr": {"shape": ["ends"], "dtype": "int32"},
        "page_indices": {"shape": ["used"], "dtype": "int32"},
        "last_page_len": {"shape": ["rows"], "dtype": "int32"},
        "block_table": {"shape": ["rows", "ends"], "dtype": "int64"},
        "seq_lens": {"shape": ["rows"], "dtype": "int32"},
    },
    "outputs": {"y": {"shape": ["rows", "width"], "dtype": "float32"}},
    "reference": """
import torch

def run(factor, cache, page_indptr, page_indices, last_page_len, block_table, seq_lens):
    assert page_indptr[-1] == page_indices.shape[0] and page_indptr[0] == 0
    assert block_table.max() < cache.shape[0]
    assert 1 <= seq_lens.min() and seq_lens.max() <= block_table.shape[1] * 4
    rows = []
    for i in range(factor.shape[0]):
        pages = cache[page_indices[page_indptr[i] : page_indptr[i + 1]].long()].flatten(0, 1)
        rows.append(pages[: pages.shape[0] - 4 + last_page_len[i]].mean(0))
    return torch.stack(rows) * factor
""",
}  # fmt: skip


def test_integers_that_mean_places_are_laid_out_where_no_file_has_them(tmp_path):
    name = "definitions/ragged/ragged_mean.json"
    (problem,) = suites.load("flashinfer-bench", write(tmp_path / "alone", {name: RAGGED}))
    task = problem.task()
    assert task.tiny[0]["ends"] == task.tiny[0]["rows"] + 1
    assert any("no workload" in note for note in task.notes)

    axes = {"rows": 5, "ends": 6, "used": 40, "pages": 64}
    missing = {"type": "safetensors", "path": "./blob/some.safetensors", "tensor_key": "x"}
    line = {"axes": axes, "inputs": {"page_indptr": missing, "page_indices": missing}}
    lines = json.dumps({"workload": line})
    root = write(tmp_path / "lacking", {name: RAGGED, "workloads/ragged/ragged_mean.jsonl": lines})
    (problem,) = suites.load("flashinfer-bench", root)
    task = problem.task()
    assert any("page_indptr, page_indices are not in the checkout" in n for n in task.notes)
    _, _, offsets, indices, last, _, _ = arguments(task, 0)
    assert (offsets[0], offsets[-1], len(offsets)) == (0, 40, 6)
    assert (offsets.diff() > 0).all()
    assert len(indices.unique()) == 40
    assert 0 <= indices.min() <= indices.max() < 64
    assert 1 <= last.min() <= last.max() <= 4
    assert not torch.equal(offsets, arguments(task, 1)[2])


def test_workloads_that_are_all_large_get_a_small_one(tmp_path):
    scalar = {"factor": {"type": "scalar", "value": 3.0}, "where": {"type": "custom"}}
    lines = [{"axes": {"rows": rows}, "inputs": scalar} for rows in (4096, 8192)]
    text = "\n".join(map(json.dumps, lines))
    files = {"a/definition.json": DEFINITION, "a/workload.jsonl": text}
    (problem,) = suites.load("sol-execbench", write(tmp_path, files))
    task = problem.task()
    assert [case["rows"] for case in task.bench] == [8192]
    assert [case["rows"] for case in task.tiny] == [7]
    assert arguments(task, 0)[1] == 3.0
    assert any("all large" in note for note in task.notes)


def test_a_file_of_a_workload_is_found_in_a_folder_above_or_named(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    source = {"type": "safetensors", "path": "data/where.safetensors", "tensor_key": "w"}
    line = {"axes": {"rows": 5}, "inputs": {"where": source}}
    files = {"problems/a/definition.json": DEFINITION, "problems/a/workload.jsonl": line}
    (problem,) = suites.load("sol-execbench", write(tmp_path, files))
    with pytest.raises(InvalidTaskError, match=r"where\.safetensors for its 'where'"):
        problem.task()
    (tmp_path / "data").mkdir()
    save_file({"w": torch.tensor([3, 1, 4, 0, 9])}, tmp_path / "data" / "where.safetensors")
    assert arguments(problem.task(), 0)[2].tolist() == [3, 1, 4, 0, 9]


GPUMODE = {
    "problems/set/utils.py": "FACTOR = 2.0\n",
    "problems/set/double/task.py": "input_t = output_t = tuple\n",
    "problems/set/double/reference.py": """
import torch
from utils import FACTOR
from task import input_t

def ref_kernel(data: input_t):
    x, out = data
    return x * FACTOR

def generate_input(size: int, seed: int) -> input_t:
    generator = torch.Generator(device="cuda")
    generator.manual_seed(seed)
    x = torch.randn(size, 16, device="cuda", generator=generator)
    return x, torch.empty_like(x)
""",
    "problems/set/double/task.yml": """
files:
  - {"name": "submission.py", "source": "@SUBMISSION@"}
  - {"name": "utils.py", "source": "../utils.py"}
  - {"name": "task.py", "source": "task.py"}
  - {"name": "reference.py", "source": "reference.py"}
description: |
  Double it.
tests:
  - {"size": 8, "seed": 1}
benchmarks:
  - {"size": 4096, "seed": 2}
""",
}


def test_one_tuple_as_argument(tmp_path):
    pytest.importorskip("yaml")
    (problem,) = suites.load("gpumode", write(tmp_path, GPUMODE))
    task = problem.task()
    assert task.entry.name == "custom_kernel"
    assert (task.tiny[0]["size"], task.bench[0]["size"]) == (8, 4096)
    assert "Double it." in task.statement
    (data,), (other,) = arguments(task, 1), arguments(task, 2)
    assert not torch.equal(data[0], other[0])
    torch.testing.assert_close(result(task, (data,)), (data[0] * 2,))


def test_a_generator_does_not_keep_inputs_from_being_counted():
    """A case whose inputs cannot be counted would be tried whatever its size."""
    with drawing(0, torch.device("meta")):
        generator = torch.Generator(device="cuda")
        generator.manual_seed(3)
        drawn = torch.randn(1 << 40, device="cuda", generator=generator)
        assert drawn.is_meta
        assert drawn.normal_(generator=generator).numel() == 1 << 40


SAMPLER = {
    "name": "kept_mass",
    "description": "The mass of what is likelier than a share of the largest.",
    "axes": {"rows": {"type": "var"}, "words": {"type": "const", "value": 64}},
    "inputs": {
        "probs": {"shape": ["rows", "words"], "dtype": "float32"},
        "weights": {"shape": ["rows", "words"], "dtype": "float32",
                    "description": "Probability distributions (after softmax)"},
        "top_p": {"shape": ["rows"], "dtype": "float32"},
    },
    "outputs": {"mass": {"shape": ["rows"], "dtype": "float32"}},
    "reference": """
import torch

def run(probs, weights, top_p):
    return (weights * probs.where(probs > top_p[:, None] * probs.amax(1, True), 0)).sum(1)
""",
}  # fmt: skip


def test_probabilities_are_drawn_as_such(tmp_path):
    (problem,) = suites.load(
        "flashinfer-bench", write(tmp_path, {"definitions/sampling/kept_mass.json": SAMPLER})
    )
    probs, weights, share = arguments(problem.task(), 0)
    for rows in (probs, weights):
        assert (rows >= 0).all()
        torch.testing.assert_close(rows.sum(-1), torch.ones(len(rows)))
    assert ((share > 0) & (share < 1)).all()
