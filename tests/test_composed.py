"""Random operator graphs: their texts agree, their tasks are sound, their splits never meet."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace

import cloudpickle
import gymnasium as gym
import pytest
import torch

import triton_gym
from triton_gym import Case, InvalidOptionError, InvalidTaskError
from triton_gym.cli.names import environment_id
from triton_gym.composition.graph import Graph, Kind, Layout, Operand, Step
from triton_gym.composition.kernel import ROW, whole
from triton_gym.composition.operators import UNARY
from triton_gym.composition.reference import Reference, english
from triton_gym.composition.rowwise import ROWS
from triton_gym.envs.composed import family
from triton_gym.envs.composed.admission import admissible
from triton_gym.envs.composed.drawing import DIFFICULTIES, draw
from triton_gym.envs.composed.family import CATALOGUE, Family, split_of
from triton_gym.envs.composed.problem import Problem
from triton_gym.evaluation import check
from triton_gym.evaluation.fingerprint import task_fingerprint

ID = "TritonKernel-composed-v0"
KINDS = [str(kind) for kind in Kind]


def tensor(value):
    return torch.as_tensor(value, dtype=torch.float64)


LANGUAGE = SimpleNamespace(
    maximum=lambda a, b: torch.maximum(tensor(a), tensor(b)),
    minimum=lambda a, b: torch.minimum(tensor(a), tensor(b)),
    where=lambda m, a, b: torch.where(m, tensor(a), tensor(b)),
    sum=lambda t, axis: t.sum(axis),
    max=lambda t, axis: t.amax(axis),
    min=lambda t, axis: t.amin(axis),
    exp=torch.exp, log=torch.log, sqrt=torch.sqrt, rsqrt=torch.rsqrt, erf=torch.erf,
    sigmoid=torch.sigmoid, abs=torch.abs, sin=torch.sin, cos=torch.cos,
)  # fmt: skip
"""What the operators' Triton texts name, in PyTorch."""


@pytest.mark.parametrize("name", UNARY)
def test_both_texts_of_an_operator_agree(name):
    t = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    triton_result = eval(UNARY[name].triton.format(t="t"), {"tl": LANGUAGE, "t": t})
    graph = Graph(Kind.ELEMENTWISE, (Step(name),))
    torch.testing.assert_close(triton_result, Reference(graph, "f")(t))


@pytest.mark.parametrize("name", ROWS)
def test_all_texts_of_a_row_operator_agree(name):
    operator = ROWS[name]
    block, cols = 16, 41
    row = torch.randn(cols, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 3
    wanted = Reference(Graph(Kind.ROWS, (Step(name),)), "f")(row[None])[0]

    padded = torch.cat([row, torch.full((23,), 7.0, dtype=torch.float64)])
    known = {"tl": LANGUAGE, "float": float, "cols": cols}
    scope = {**known, "t": padded, "mask": torch.arange(64) < cols}
    exec("\n".join(whole(Step(name), ROW)), scope)
    found = scope["t"][:cols] if operator.keeps else scope["t"]
    torch.testing.assert_close(found, wanted)

    def blocks():
        for start in range(0, 48, block):
            yield padded[start : start + block], torch.arange(start, start + block) < cols

    scope = dict(known)
    for one in operator.passes:
        exec("\n".join(one.start), scope)
        for t, mask in blocks():
            scope.update(t=t, mask=mask)
            exec("\n".join(line.format(mask="mask") for line in one.each), scope)
        exec("\n".join(line.format(cols="cols") for line in one.end), scope)
    results = []
    for t, _ in blocks():
        scope["t"] = t
        results.append(eval(operator.apply.format(cols="cols"), scope))
    found = torch.cat(results)[:cols] if operator.keeps else tensor(results[0])
    torch.testing.assert_close(found, wanted)


def test_a_graph_is_written_as_it_is_computed():
    operands = (Operand("c", Layout.COLUMN), Operand("b", Layout.VECTOR))
    steps = (Step("scale", value=0.5), Step("add", "b"), Step("mul", "c", "sigmoid"),
             Step("sub", "x"), Step("sum"), Step("maximum", "c"))  # fmt: skip
    graph = Graph(Kind.ROWS, steps, operands)
    reference = Reference(graph, "f")
    x, c, b = torch.randn(3, 5), torch.randn(3), torch.randn(5)
    wanted = ((x * 0.5 + b) * c.sigmoid()[:, None] - x).sum(-1).maximum(c)
    torch.testing.assert_close(reference(x, c, b), wanted)
    scope = {"torch": torch, "F": torch.nn.functional}
    exec(reference.text, scope)
    assert scope["f"](x, c, b).equal(reference(x, c, b))
    assert "multiply by sigmoid(c); subtract x; sum every row" in english(graph)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((Step("rellu"),), "Did you mean 'relu'"),
        ((Step("add"),), "must name an operand"),
        ((Step("add", "q"),), "Allowed: b, x"),
        ((Step("sum"), Step("softmax")), "cannot stand here"),
        ((Step("sum"), Step("add", "b")), "joins a matrix"),
    ],
)
def test_an_impossible_graph_is_refused(steps, told):
    with pytest.raises((InvalidOptionError, InvalidTaskError), match=told):
        Graph(Kind.ROWS, steps, (Operand("b", Layout.VECTOR),))


def test_no_graph_is_in_both_splits():
    found = {}
    for split in ("train", "test"):
        family = Family(split=split, difficulty="easy")
        graphs = [family(seed).reference.graph for seed in range(60)]
        assert {split_of(graph) for graph in graphs} == {split}
        found[split] = {graph.canonical() for graph in graphs}
    assert len(found["train"]) > 30
    assert len(found["test"]) > 15
    assert not found["train"] & found["test"]


def test_names_and_numbers_make_no_new_graph():
    def graph(name, value):
        steps = (Step("scale", value=value), Step("add", name), Step("mul", name))
        return Graph(Kind.ELEMENTWISE, steps, (Operand(name, Layout.FULL),))

    assert graph("y", 0.5).canonical() == graph("z", 3.0).canonical()
    other = Graph(Kind.ELEMENTWISE, graph("y", 0.5).steps, (Operand("y", Layout.VECTOR),))
    assert graph("y", 0.5).canonical() != other.canonical()


def test_what_the_catalogue_asks_for_is_never_trained_on():
    softmax = Graph(Kind.ROWS, (Step("softmax"),))
    assert softmax.canonical() in CATALOGUE
    assert split_of(softmax) == "test"


def test_graphs_are_of_their_difficulty_and_kind():
    rng = random.Random(0)
    for difficulty, (fewest, most) in DIFFICULTIES.items():
        for kind in Kind:
            problem = draw(rng, kind, difficulty)
            assert fewest <= len(problem.graph.steps) <= most
            assert problem.graph.kind is kind
            assert any(step.row for step in problem.graph.steps) == (kind is Kind.ROWS)


@pytest.mark.parametrize(
    "steps",
    [
        (Step("exp"), Step("exp"), Step("exp")),  # overflows
        (Step("square"), Step("relu")),  # the second does nothing
        (Step("scale", value=2.0), Step("layer_norm")),  # neither does the first here
        (Step("square"), Step("neg"), Step("relu")),  # all zeros
    ],
)
def test_bad_graphs_are_not_admitted(steps):
    assert not admissible(Problem(Graph(Kind.ROWS, steps), "float32", (4096, 1024)))


@pytest.mark.parametrize(("name", "admitted"), [("softsign", True), ("log1p_abs", False)])
def test_what_plain_float32_cannot_do_is_not_asked_for(name, admitted):
    """log(1 + t) goes through values near 1, and loses of a long row's softmax what t / (1 + t)
    keeps."""
    steps = (Step("mul", "b"), Step("softmax"), Step("scale", value=0.5), Step(name), Step("mean"))
    graph = Graph(Kind.ROWS, steps, (Operand("b", Layout.VECTOR),))
    assert admissible(Problem(graph, "float32", (16384, 512))) == admitted


@pytest.mark.parametrize("kind", KINDS)
def test_trivial_answers_fail(kind):
    for seed in range(5):
        task = Family(kind=kind)(seed)
        case = task.tiny[0]
        inputs = check.draw_inputs(task, case, seed, torch.device("cpu"))
        expected = check.expect(task, case, inputs)
        (plain,) = check.reference(task, inputs)
        (other,) = check.reference(task, check.draw_inputs(task, case, 99, torch.device("cpu")))
        assert check.compare([plain], expected, "").ok
        wrong = [torch.zeros_like(plain), torch.ones_like(plain), plain * 2, -plain, other,
                 torch.full_like(plain, float(plain.double().mean())), plain.roll(1),
                 *(x for x in inputs if x.shape == plain.shape)]  # fmt: skip
        for result in wrong:
            assert not check.compare([result], expected, "").ok, task.title


def test_every_argument_matters():
    """The speed of light counts all of them as read: who rightly reads fewer would be accused."""
    for seed in range(60):  # x of seed 24 once drowned in minimum(amax(x), c)
        task = Family()(seed)
        inputs = check.draw_inputs(task, task.tiny[0], seed, torch.device("cpu"))
        others = check.draw_inputs(task, task.tiny[0], seed + 1, torch.device("cpu"))
        expected = check.expect(task, task.tiny[0], inputs)
        for index, name in enumerate(task.entry.parameters):
            changed = (*inputs[:index], others[index], *inputs[index + 1 :])
            (result,) = check.reference(task, changed)
            assert not check.compare([result], expected, "").ok, (seed, name)


def test_an_operand_that_no_step_joins_is_refused():
    graph = Graph(Kind.ELEMENTWISE, (Step("exp"),), (Operand("y", Layout.FULL),))
    with pytest.raises(InvalidTaskError, match="joins"):
        Problem(graph, "float32", (4096, 1024))


def test_a_reset_draws_a_task_and_its_seed_decides_it(stub):
    env = gym.make(ID, evaluator=stub)
    first, info = env.reset(seed=1)
    task = env.unwrapped.task
    assert info["task"] == task.name
    assert task.reference.text.rstrip() in first["task"]
    assert f"def {task.entry.name}(" in first["kernel"]
    again, _ = env.reset()
    assert again["task"] != first["task"]
    same, _ = env.reset(seed=1)
    assert same["task"] == first["task"]
    assert task_fingerprint(env.unwrapped.task) == task_fingerprint(task)


def test_a_group_of_equal_resets_draws_once(monkeypatch):
    """Drawing looks at many graphs: a training step with eight replies must not pay for it eight times."""
    drawn = []
    monkeypatch.setattr(family, "draw", lambda *a: drawn.append(a) or draw(*a))
    tasks = [Family(difficulty="easy")(987_654_321) for _ in range(8)]
    assert len({id(task) for task in tasks}) == 1
    once = len(drawn)
    assert Family(difficulty="easy")(987_654_321) is tasks[0]
    assert len(drawn) == once > 0


def test_a_task_survives_the_way_to_the_judge():
    task = Family()(3)
    copy = cloudpickle.loads(cloudpickle.dumps(task))
    inputs = check.draw_inputs(task, task.tiny[0], 5, torch.device("cpu"))
    assert copy.reference(*inputs).equal(task.reference(*inputs))
    assert copy.flops(task.bench[0]) == task.flops(task.bench[0]) > 0
    assert copy.min_bytes(task.bench[0]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_starter_and_expert_are_correct(kind, any_evaluator):
    task = Family(kind=kind, difficulty="medium")(11)
    for source in (task.starter, task.expert):
        outcome = any_evaluator.evaluate(task, source, seed=3)
        assert outcome.correct, outcome.message
        assert 0 < outcome.roofline <= 1.05


def test_a_sine_is_bound_by_memory(evaluator):
    """Its code for huge arguments is skipped; counted, it would take twice as long as memory."""
    task = Problem(Graph(Kind.ELEMENTWISE, (Step("sin"),)), "float32", (16384, 512)).task()
    outcome = evaluator.evaluate(task, task.expert)
    assert outcome.correct, outcome.message
    assert outcome.bound == "memory"
    assert outcome.roofline > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_told_in_words_as_code_or_both_and_always_whole(kind):
    draw_task, found = Family("train", kind=kind), set()
    for seed in range(40):
        task = draw_task(seed)
        graph, text = task.reference.graph, task.statement
        words = english(graph).removeprefix("start from ") in text
        code = task.reference.text.rstrip() in text
        found.add((words, code))
        assert task.dtypes[0] in text
        for name in graph.parameters:
            shape = "[rows, k]" if kind == "matmul" and name == "x" else "["
            assert f"{name} {shape}" in text or f"{name} is {shape}" in text
    assert found == {(True, False), (False, True), (True, True)}


@pytest.mark.gpu
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1, id="reads far more than it writes"),  # some results leave the cache
        pytest.param(40, id="20 MB of results"),  # which stay there with their copies, to be
        pytest.param(271, id="17 MB of results"),  # written back during the next call
    ],
)
def test_an_answer_is_not_accused_for_what_the_cache_does(gpu_evaluator, seed):
    env = gym.make(ID, split="train", device="simulated")
    env.reset(seed=seed)
    task = env.unwrapped.task
    for source in (task.starter, task.expert):
        for _ in range(2):
            outcome = gpu_evaluator.evaluate(task, source)
            assert outcome.correct, outcome.message


SCRATCH = """
import torch
import triton
import triton.language as tl


@triton.jit
def widened(x_ptr, s_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0)
        tl.store(s_ptr + row * cols + col, x.to(tl.float32), mask=col < cols)


@triton.jit
def summed(s_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total = 0.0
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        s = tl.load(s_ptr + row * cols + col, mask=col < cols, other=0.0)
        total += tl.sum(s, axis=0)
    tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty))


def sum_rows(x):
    rows, cols = x.shape
    scratch = torch.empty((rows, cols), device=x.device, dtype=torch.float32)
    y = torch.empty((rows,), device=x.device, dtype=x.dtype)
    widened[(rows,)](x, scratch, cols, BLOCK=1024)
    summed[(rows,)](scratch, y, cols, BLOCK=1024)
    return y
"""


@pytest.mark.gpu
@pytest.mark.parametrize(("rows", "cols"), [(2048, 1024), (2048, 4096), (4096, 3000), (8192, 4096)])
def test_an_answer_is_not_accused_for_its_scratch_memory(gpu_evaluator, rows, cols):
    # 8 to 134 MB are written for a later kernel, and are back in memory after the next call only.
    case = Case("float16", {"rows": rows, "cols": cols})
    task = dataclasses.replace(triton_gym.load("sum_rows"), bench=(case,))
    for _ in range(4):
        outcome = gpu_evaluator.evaluate(task, SCRATCH)
        assert outcome.correct, outcome.message


def test_vector_modes_draw_the_same_tasks():
    found = []
    for mode in ("sync", "async", "vector_entry_point"):
        envs = gym.make_vec(
            ID, num_envs=2, vectorization_mode=mode, device="simulated", split="test", max_turns=1
        )
        try:
            observations, _ = envs.reset(seed=4)
            texts = [list(observations["task"])]
            envs.step(("", ""))
            texts.append(list(envs.step(("", ""))[0]["task"]))  # the next episode
            found.append(texts)
        finally:
            envs.close()
    assert found[0] == found[1] == found[2]
    assert len({text for texts in found[0] for text in texts}) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": "valid"}, "Allowed: test, train"),
        ({"difficulty": "harder"}, "Did you mean 'hard'"),
        ({"kind": "row"}, "Did you mean 'rows'"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options, told):
    with pytest.raises(InvalidOptionError, match=told):
        gym.make(ID, **options)


def test_a_family_is_not_a_task():
    with pytest.raises(InvalidOptionError, match="each reset draws one"):
        triton_gym.load("composed")
    assert "composed" not in triton_gym.tasks()
    assert environment_id("composed") == ID
