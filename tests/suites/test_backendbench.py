"""BackendBench: ATen's overloads on the samples of PyTorch's own tests."""

from __future__ import annotations

import pytest
import torch

from triton_gym import InvalidTaskError, suites
from triton_gym.evaluation import check

pytest.importorskip("expecttest", reason="PyTorch's op_db needs expecttest (extra `suites`)")

MAP = '''
op_map_data = """
canonical:add.Tensor func:add.Tensor out:add.out inplace:add_.Tensor view:
canonical:add.Scalar func:add.Scalar out:add.Scalar_out inplace:add_.Scalar view:
canonical:absolute.default func:absolute.default out: inplace: view:
canonical:bitwise_and.Scalar func:bitwise_and.Scalar out: inplace: view:
canonical:gelu_backward.default func:gelu_backward.default out: inplace: view:
canonical:bernoulli.p func:bernoulli.p out: inplace: view:
canonical:native_layer_norm.default func:native_layer_norm.default out: inplace: view:
canonical:expand.default func: out: inplace: view:expand.default
canonical:hypothetical.default func:hypothetical.default out: inplace: view:
canonical:_internal.default func:_internal.default out: inplace: view:
"""
'''


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    (root / "BackendBench" / "scripts").mkdir(parents=True)
    (root / "BackendBench" / "scripts" / "op_map.py").write_text(MAP)
    (root / "BackendBench" / "op_categories.py").write_text('RANDOM_OPS = ["bernoulli.p"]')
    return suites.load("backendbench", root)


def test_functional_overloads_are_listed_and_those_of_an_operator_stay_together(suite):
    keys = [problem.key for problem in suite]
    assert keys == [
        "add.Tensor", "add.Scalar", "absolute.default", "bitwise_and.Scalar",
        "gelu_backward.default", "native_layer_norm.default", "hypothetical.default",
    ]  # fmt: skip
    assert {p.key for p in suite.groups()[0]} == {"add.Tensor", "add.Scalar"}


def test_samples_of_pytorchs_tests_are_the_cases(suite):
    task = suite.problem("add.Tensor").task()
    assert task.entry.name == "add"
    assert task.entry.parameters[:2] == ("self", "other")
    assert "add.Tensor(Tensor self, Tensor other" in task.statement
    alphas = set()
    for case in task.tiny:
        one, other, *rest = check.draw_inputs(task, case, 3, torch.device("cpu"))
        alpha = rest[0] if rest else 1
        alphas.add(alpha)
        torch.testing.assert_close(task.reference(one, other, *rest), one + alpha * other)
        again, _, *_ = check.draw_inputs(task, case, 4, torch.device("cpu"))
        assert not torch.equal(one, again), "every evaluation draws its own"
    assert len(alphas) > 1


def test_what_cannot_be_judged_is_told(suite):
    with pytest.raises(InvalidTaskError, match=r"no aten\.hypothetical"):
        suite.problem("hypothetical.default").task()


def test_aliases_numbers_and_gradients_have_calls(suite):
    task = suite.problem("absolute.default").task()
    (x,) = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    torch.testing.assert_close(task.reference(x), x.abs())
    task = suite.problem("bitwise_and.Scalar").task()
    x, number = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    assert isinstance(number, int)
    assert torch.equal(task.reference(x, number), x & number)
    task = suite.problem("gelu_backward.default").task()
    gradient, x, *rest = check.draw_inputs(task, task.tiny[0], 1, torch.device("cpu"))
    how = {"approximate": rest[0]} if rest else {}
    leaf = x.clone().requires_grad_()
    torch.nn.functional.gelu(leaf, **how).backward(gradient)
    torch.testing.assert_close(task.reference(gradient, x, *rest), leaf.grad)
