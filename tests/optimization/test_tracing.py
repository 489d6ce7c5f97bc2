"""What tracing makes of functions, and which it refuses."""

from __future__ import annotations

import random
import re
from ast import parse, unparse

import cloudpickle
import pytest
import torch
import triton
import triton.language as tl
from torch import nn

from triton_gym.agents.mutation import sites
from triton_gym.errors import NotOptimizableError
from triton_gym.evaluation import check
from triton_gym.optimization.shipping import Request, packed
from triton_gym.optimization.tracing import task_name, trace
from triton_gym.optimization.tracing_worker import traced

CPU = torch.device("cpu")
WEIGHT = torch.randn(32)
SCALE = 3.0
CALLS = []
COUNT = 0


def traced_here(function, *args, dynamic=None, draw=None, reference=None, routes=(), **kwargs):
    """What `trace` does, in this process and without starts."""
    request = Request(
        function=function, examples=((args, kwargs),), dynamic=dynamic, draw=draw,
        reference=reference, name=task_name(function), gpu="h200", routes=routes,
    )  # fmt: skip
    return traced(cloudpickle.loads(packed(request)))


def agrees(found, function, *arguments):
    """Whether the task's reference computes what the function does."""
    ours = found.task.reference(*found.answer_arguments(function, arguments, {}))
    theirs = function(*arguments)
    torch.testing.assert_close(ours, theirs)
    return True


# -- what is refused -----------------------------------------------------------------------------


def random_one(x):
    return torch.nn.functional.dropout(x, 0.5)


def reads_a_value(x):
    return x * x.sum().item()


def decides(x):
    return x + 1 if x.sum() > 0 else x - 1


def of_unknown_size(x):
    return x[x > 0] * 2


def writes_to_an_argument(x):
    x.add_(1)
    return x * 2


def returns_a_view(x):
    return x.transpose(0, 1)


def two_views(x):
    y = x * 2
    return y, y[0]


def counts(x):
    global COUNT
    COUNT += 1
    return x * 2


def keeps(x):
    CALLS.append(x.shape)
    return x * 2


def prints(x):
    print("called")
    return x * 2


def ignores_its_argument(x):
    return torch.zeros_like(x) + 1


def returns_an_object(x):
    return object(), x * 2


class Caches(nn.Module):
    def forward(self, x):
        self.last = x * 2
        return self.last + 1


REFUSED = {
    "random": (random_one, "random"),
    "item": (reads_a_value, "value"),
    "branch": (decides, "depends on values"),
    "nonzero": (of_unknown_size, "depends on values"),
    "mutation": (writes_to_an_argument, "writes to|changes"),
    "view": (returns_a_view, "returns one of its arguments or a view"),
    "shared": (two_views, "share memory"),
    "global": (counts, "COUNT"),
    "append": (keeps, "append"),
    "print": (prints, "print"),
    "attribute": (Caches(), "self.last"),
    "constant": (ignores_its_argument, "Nothing can be judged"),
    "object": (returns_an_object, "object"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what):
    function, why = REFUSED[what]
    with pytest.raises(NotOptimizableError, match=why) as found:
        traced_here(function, torch.randn(6, 8))
    assert getattr(function, "__name__", type(function).__name__) in str(found.value)


def test_says_the_line():
    line = reads_a_value.__code__.co_firstlineno + 1
    with pytest.raises(NotOptimizableError, match=f"test_tracing.py:{line}"):
        traced_here(reads_a_value, torch.randn(6, 8))


def test_refuses_tensor_subclasses():
    own = torch.randn(4, 8).as_subclass(type("Own", (torch.Tensor,), {}))
    with pytest.raises(NotOptimizableError, match="subclass"):
        traced_here(lambda x: x * 2, own)


# -- what is traced ------------------------------------------------------------------------------


def scaled(x, options, *, bias=None):
    y = x * options["weight"][0] * SCALE
    return {"y": y + bias if bias is not None else y, "kept": [y.sum(-1), None, 3]}


def test_containers_names_and_settings():
    arguments = (torch.randn(6, 32), {"weight": [torch.randn(32)], "mode": "plain"})
    found = traced_here(scaled, *arguments)
    assert found.guard.arguments == ("x", "options['weight'][0]")
    assert {one.argument for one in found.guard.constants} == {"options['mode']", "bias"}
    assert [(str(one.path), one.value) for one in found.settings] == [("SCALE", 3.0)]
    assert found.guard.matches(arguments, {})
    assert not found.guard.matches(arguments, {"bias": torch.zeros(32)})
    assert agrees(found, scaled, *arguments)
    result = found.task.reference(*found.answer_arguments(scaled, arguments, {}))
    assert result["kept"][1:] == [None, 3]


def with_captured(x):
    return torch.relu(x * WEIGHT)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(32, 16), nn.LayerNorm(16))

    def forward(self, x):
        return torch.nn.functional.silu(self.inner(x))

    def twice(self, x):
        return self(x) * 2


def test_captured_tensors_are_arguments():
    found = traced_here(with_captured, torch.randn(6, 32))
    assert found.captured_tensors(with_captured)[0] is WEIGHT
    assert agrees(found, with_captured, torch.randn(9, 32))
    module = Norm()
    for function in (module, module.twice):
        found = traced_here(function, torch.randn(6, 32))
        held = found.captured_tensors(function)
        assert {id(one) for one in held} == {id(one) for one in module.parameters()}
        assert agrees(found, function, torch.randn(9, 32))
        assert any(str(one.path).endswith("training") for one in found.settings)


def masked(x, index, mask, table):
    rows = table[index]
    return torch.softmax((x + rows).masked_fill(~mask, float("-inf")), -1)


def test_arguments_are_drawn_like_the_examples():
    mask = torch.rand(12, 20) > 0.7
    mask[:, 3] = True
    arguments = (
        torch.rand(12, 20) + 5, torch.randint(0, 7, (12,)), mask, torch.randn(7, 20),
    )  # fmt: skip
    found = traced_here(masked, *arguments, dynamic={"x": (0,), "index": (0,), "mask": (0,)})
    assert set(found.guard.sizes) == {"x_0"}
    assert found.guard.ranges["x_0"] == (2, 24)  # tests reach twice the example
    task = found.task
    cases = {task.draw(random.Random(seed), tiny=True)["x_0"] for seed in range(20)}
    assert len(cases) > 5
    x, index, drawn, table = check.draw_inputs(task, task.bench[0], 1, CPU)
    assert 5 <= float(x.min()) <= float(x.max()) <= 6
    assert 0 <= int(index.min()) <= int(index.max()) <= 6
    assert drawn.any(-1).all()
    assert 0.1 < drawn.float().mean() < 0.6
    assert not torch.equal(table, arguments[3])
    assert task.flops(task.bench[0]) > 0
    assert task.min_bytes(task.bench[0]) >= 2 * 12 * 20 * 4


def test_a_users_own_draw():
    def draw(generator, x, offsets):
        return x, torch.arange(len(offsets), dtype=offsets.dtype) * 2

    found = traced_here(
        lambda x, offsets: x[offsets] * 2, torch.randn(64, 8), torch.tensor([0, 5, 11, 30]),
        dynamic={}, draw=draw,
    )  # fmt: skip
    _, offsets = check.draw_inputs(found.task, found.task.bench[0], 1, CPU)
    assert offsets.tolist() == [0, 2, 4, 6]


def test_the_oracle_is_exact_whatever_the_function_casts():
    def norm(x):
        return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)

    task = traced_here(norm, torch.randn(8, 64)).task
    (x,) = check.draw_inputs(task, task.bench[0], 1, CPU)
    wide = x.double()
    exact = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
    assert (check.oracle(task, [x])[0] - exact).abs().max() < 1e-14


def test_sizes_that_hang_together_are_conditions():
    found = traced_here(lambda x: x.view(x.shape[0] // 4, 4, -1).sum(1), torch.randn(12, 8))
    assert any("4" in condition for condition in found.guard.conditions)
    assert not found.guard.matches((torch.randn(10, 8),), {})
    assert all(
        found.task.draw(random.Random(seed), tiny=True)["x_0"] % 4 == 0 for seed in range(10)
    )


@triton.jit
def doubling_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place, mask=place < n)
    tl.store(y_ptr + place, x + x, mask=place < n)


def doubled(x, scale=2.0):
    y = torch.empty_like(x)
    doubling_kernel[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y


def test_a_kernel_of_the_users_needs_a_reference_and_is_a_start():
    with pytest.raises(NotOptimizableError, match="launches the Triton kernel doubling_kernel"):
        traced_here(doubled, torch.randn(6, 8))
    found = traced_here(
        doubled, torch.randn(6, 8), reference=lambda x, scale=2.0: x * 2, routes=("own",)
    )
    assert found.starts[0].route == "own"
    assert "def doubling_kernel" in found.starts[0].source
    assert "pytest" not in found.starts[0].source
    with pytest.raises(NotOptimizableError, match="other parameters"):
        traced_here(doubled, torch.randn(6, 8), reference=lambda x: x * 2)


# -- a whole trace, in a process of its own --------------------------------------------------------


@pytest.fixture(scope="session")
def gated():
    """A local function that holds a tensor, traced with Inductor's kernels to start from."""
    weight = torch.randn(48)

    def gate(x, y):
        h = torch.nn.functional.silu(x) * y
        return h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * weight, h

    return gate, trace(gate, [(torch.randn(20, 48), torch.randn(20, 48))], seconds=240)


def test_a_start_is_judged_correct(gated, evaluator):
    _, found = gated
    assert found.routes["inductor"] == "a start"
    assert "triton_helpers" not in found.starts[0].source
    outcome = evaluator.evaluate(found.task, found.starts[0].source)
    assert outcome.status == "correct", outcome.message


def test_what_a_start_leaves_out_is_found(gated, evaluator):
    """An answer that does not use the captured tensor is wrong: it is drawn anew."""
    _, found = gated
    (name,) = (one.name for one in found.captured)
    wrong = found.starts[0].source.replace(f" = {name}\n", f" = {name} * 0 + 1\n")
    assert wrong != found.starts[0].source
    assert evaluator.evaluate(found.task, wrong).status != "correct"


def host_of(start, name):
    """The host function of a start, that for all sizes if there are others."""
    hosts = {node.name: node for node in parse(start.source).body if hasattr(node, "name")}
    return unparse(hosts.get(f"{name}_any", hosts[name]))


def long_rows(x):
    """Reduces rows that Inductor goes through in a loop by itself."""
    return torch.softmax(x, -1)


def test_reductions_start_in_both_forms_with_names_for_what_may_vary(evaluator):
    found = trace(
        long_rows, [(torch.randn(4, 2048),)], dynamic={"x": (0,)}, routes=("inductor",),
        seconds=240,
    )  # fmt: skip
    assert found.routes == {
        "inductor": "a start", "inductor-rows": "a start", "inductor-loops": "as inductor",
    }  # fmt: skip
    loops, rows = (start.source for start in found.starts)
    assert "LOOP_STAGES" not in rows
    names = {site.label.rpartition("_0_")[2] for site in sites(loops)}
    assert names == {"XBLOCK", "R0_BLOCK", "LOOP_STAGES", "NUM_WARPS"}
    pipelined = re.sub(r"(?m)^(\w+_LOOP_STAGES) = 1$", r"\1 = 3", loops)
    assert pipelined != loops
    for source in (loops, rows, pipelined):
        outcome = evaluator.evaluate(found.task, source)
        assert outcome.status == "correct", outcome.message


def test_large_tensors_are_sent_without_values_and_rebuilt_with_a_few():
    given = torch.randn(400, 500).t()
    (made,) = cloudpickle.loads(
        packed(Request(lambda x: x, (((given,), {}),), None, None, None, "f", "h200", ()))
    ).examples[0][0]
    assert (made.shape, made.stride(), made.dtype) == (given.shape, given.stride(), given.dtype)
    assert abs(float(made.mean())) < 0.05
    assert abs(float(made.std()) - 1) < 0.1  # extremes of the example weigh more
    rows = made.t()
    assert not torch.equal(rows[0], rows[1])
    assert len(rows.unique()) > 10_000


def activated(x, w, b, v):
    """Products with activations: weights as linear layers have them, and as they are multiplied."""
    h = torch.nn.functional.gelu(torch.nn.functional.linear(x, w, b), approximate="tanh")
    return torch.relu(h @ v)


@pytest.mark.parametrize("inner", [32, pytest.param(27, marks=pytest.mark.slow)])
def test_activations_become_part_of_products(inner, evaluator):
    """27 columns: rows that the copy engine cannot address."""
    made = torch.randn(20, 48), torch.randn(inner, 48), torch.randn(inner), torch.randn(inner, 64)
    found = trace(
        activated, [tuple(one.bfloat16() for one in made)], dynamic={"x": (0,)},
        routes=("inductor",), seconds=240,
    )  # fmt: skip
    assert found.routes["inductor-epilogue"] == "a start"
    (start,) = (one for one in found.starts if one.route == "inductor-epilogue")
    host = host_of(start, "activated")
    assert host.count("activated_product(") == 2
    assert "'gelu_tanh'" in host
    assert "'relu'" in host
    assert "triton_poi" not in host  # nothing is left for a kernel of its own
    outcome = evaluator.evaluate(found.task, start.source)
    assert outcome.status == "correct", outcome.message
    wrong = start.source.replace("if BIAS:", "if False:")
    assert evaluator.evaluate(found.task, wrong).status == "incorrect"


def gated_block(x, gate, up, down):
    """A gate between two products, and a residual, of rows in two axes."""
    return (torch.nn.functional.silu(x @ gate) * (x @ up)) @ down + x


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.slow)]
)
def test_gates_and_residuals_become_part_of_products(dtype, evaluator):
    made = torch.randn(3, 7, 48), torch.randn(48, 64), torch.randn(48, 64), torch.randn(64, 48)
    scaled = (made[0], *(one / 7 for one in made[1:]))
    found = trace(
        gated_block, [tuple(one.to(dtype) for one in scaled)], dynamic={"x": (0,)},
        routes=("inductor",), seconds=240,
    )  # fmt: skip
    (start,) = (one for one in found.starts if one.route == "inductor-epilogue")
    host = host_of(start, "gated_block")
    assert host.count("activated_product(") == 2
    assert "'silu'" in host
    assert "'mul'" in host
    assert "'add'" in host
    assert "triton_poi" not in host
    outcome = evaluator.evaluate(found.task, start.source)
    assert outcome.status == "correct", outcome.message
    wrong = start.source.replace('if OP == "mul":', 'if OP == "none":')
    assert evaluator.evaluate(found.task, wrong).status == "incorrect"


def beside(u):
    """The sum of neighbours along both axes."""
    out = u.clone()
    out[1:-1, 1:-1] = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return out


def test_what_reads_beside_itself_starts_in_tiles_too(evaluator):
    found = trace(beside, [(torch.randn(40, 36),)], routes=("inductor",), seconds=240)
    (start,) = (one for one in found.starts if one.route == "inductor-tiles")
    assert "_XBLOCK = 128\n" in start.source
    assert "_YBLOCK = 8\n" in start.source
    outcome = evaluator.evaluate(found.task, start.source)
    assert outcome.status == "correct", outcome.message


def chosen(x, i):
    return torch.relu(x.index_select(1, i))


def test_chosen_columns_have_a_start(evaluator):
    """Taken apart in PyTorch's own way, `index_select` would ask for a GPU."""
    given = torch.randn(12, 40), torch.randint(0, 40, (9,))
    found = trace(chosen, [given], routes=("inductor",), seconds=240)
    outcome = evaluator.evaluate(found.task, found.starts[0].source)
    assert outcome.status == "correct", outcome.message


def bagged(table, indices, offsets):
    return torch.nn.functional.embedding_bag(indices, table, offsets, mode="mean", padding_idx=3)


def largest_of_bags(table, indices):
    return torch.nn.functional.embedding_bag(indices, table, mode="max")


def _offsets(generator, table, indices, offsets):
    count = indices.shape[0]
    drawn = torch.randint(0, count + 1, offsets.shape, generator=generator).sort()[0]
    drawn[0] = 0
    return table, indices, drawn


@pytest.mark.parametrize(
    "function", [bagged, pytest.param(largest_of_bags, marks=pytest.mark.slow)]
)
def test_bags_of_rows_start_from_a_template(function, evaluator):
    table = torch.randn(20, 24)
    given = {
        bagged: (table, torch.randint(0, 20, (30,)), torch.arange(0, 30, 5)),
        largest_of_bags: (table, torch.randint(0, 20, (6, 5))),
    }[function]
    draw = _offsets if function is bagged else None
    found = trace(
        function, [given], dynamic={"indices": (0,)}, routes=("template",), seconds=240, draw=draw
    )
    assert found.routes["template"] == "a start", found.routes
    outcome = evaluator.evaluate(found.task, found.starts[0].source)
    assert outcome.status == "correct", outcome.message


def running(x, y):
    """Two scans, each with a function of its own to combine by."""
    return x.cumsum(-1), torch.cumsum(y.float(), -1).to(y.dtype) * 2


def test_what_scans_combine_by_comes_along(evaluator):
    given = torch.randn(12, 40), torch.randn(12, 24)
    found = trace(running, [given], dynamic={"x": (0,)}, routes=("inductor",), seconds=240)
    assert found.starts, found.routes
    for start in found.starts:
        outcome = evaluator.evaluate(found.task, start.source)
        assert outcome.status == "correct", (start.route, outcome.message)


def padded(x, w):
    wide = torch.nn.functional.pad(x, (3, 0))
    return sum(wide[..., i : i + x.shape[-1]] * w[:, i, None] for i in range(4))


def test_no_start_holds_for_the_example_alone(evaluator):
    """PyTorch's compiler may fix a size that varies: what it writes then is no start."""
    given = torch.randn(2, 8, 40), torch.randn(8, 4)
    found = trace(padded, [given], dynamic={"x": (2,)}, routes=("inductor",), seconds=240)
    assert found.routes["inductor"] == "a start" or "fixes a size" in found.routes["inductor"]
    for start in found.starts:
        outcome = evaluator.evaluate(found.task, start.source)
        assert outcome.status == "correct", outcome.message


def two_readers(x, w):
    h = x @ w
    return torch.relu(h), h


def test_a_product_that_is_read_twice_stays(evaluator):
    found = trace(
        two_readers, [(torch.randn(8, 16), torch.randn(16, 32))], routes=("inductor",), seconds=240
    )
    assert "inductor-epilogue" not in found.routes
