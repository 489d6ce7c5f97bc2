"""What a user holds: a function, a method or a module that is optimised."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch

import triton_gym
from triton_gym.errors import InvalidOptionError
from triton_gym.optimization import handle as handles

EXAMPLES = [(torch.ones(4, 8), torch.ones(8))]


@pytest.fixture(autouse=True)
def begun(monkeypatch):
    """Searches that were begun, instead of beginning them."""
    found = []
    monkeypatch.setattr(handles.Optimization, "begin", lambda self: found.append(self.spec.name))
    return found


@triton_gym.optimize(examples=EXAMPLES)
def doubled(x, w, *, factor: float = 2.0):
    """Twice."""
    return x * w * factor


def test_it_is_the_function_to_everyone_else(begun):
    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Twice."
    assert str(inspect.signature(doubled)) == "(x, w, *, factor: 'float' = 2.0)"
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert copy.deepcopy(doubled) is doubled
    x, w = EXAMPLES[0]
    assert torch.equal(doubled(x, w, factor=3.0), x * w * 3)
    assert begun == ["doubled"]
    doubled(x, w)
    assert begun == ["doubled"]  # with the first call alone
    assert "original runs" in str(doubled.report())
    with pytest.raises(TypeError, match="unexpected keyword"):
        doubled(x, w, wrong=1)


def test_a_search_begins_with_the_first_call_after_it_was_disabled_and_enabled(begun):
    function = triton_gym.optimize(lambda x: x * 2, examples=[EXAMPLES[0][:1]])
    function.disable()
    function(EXAMPLES[0][0])
    assert begun == []
    function.enable()
    function(EXAMPLES[0][0])
    assert len(begun) == 1


class Layer:
    def __init__(self, factor):
        self.factor = factor

    @triton_gym.optimize(examples=EXAMPLES)
    def apply(self, x, w):
        return x * w * self.factor


def test_a_method_is_optimised_for_its_first_object(begun):
    one, other = Layer(2.0), Layer(3.0)
    x, w = EXAMPLES[0]
    assert torch.equal(one.apply(x, w), x * 2)
    assert torch.equal(other.apply(x, w), x * 3)
    assert begun == ["Layer_apply"]
    assert Layer.apply.report().runs == "original"


def test_a_module_stays_itself_and_its_copies_are_plain(begun):
    plain = torch.nn.Linear(8, 4)
    module = triton_gym.optimize(plain, examples=[(torch.ones(3, 8),)])
    assert module is plain
    assert isinstance(module, torch.nn.Linear)
    x = torch.ones(3, 8)
    expected = torch.nn.functional.linear(x, module.weight, module.bias)
    torch.testing.assert_close(module(x), expected)
    assert begun == ["Linear_forward"]
    assert module.report().runs == "original"
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(copied) is torch.nn.Linear
        with torch.no_grad():
            copied.weight.zero_()
            copied.bias.zero_()
        assert not copied(x).any()
    torch.testing.assert_close(module(x), expected)
    assert list(module.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("wrong", [
    {"seconds": 0}, {"share": 0}, {"share": 2}, {"shadow": -1}, {"against": "eagre"},
    {"start": "later"}, {"examples": None},
])  # fmt: skip
def test_options_are_refused_by_name(wrong):
    with pytest.raises(InvalidOptionError, match=next(iter(wrong))):
        triton_gym.optimize(**{"examples": EXAMPLES, **wrong})(lambda x: x)


@pytest.mark.parametrize("given", [(), "text", torch.ones(2), [3]])
def test_examples_are_refused_with_what_is_allowed(given):
    from triton_gym.optimization.spec import calls

    with pytest.raises(InvalidOptionError, match="tuple of arguments"):
        calls(given)


def test_calls_may_be_given_in_every_way():
    from triton_gym.optimization.spec import calls

    x, w = EXAMPLES[0]
    assert calls([x, (x, w), {"x": x}, ((x,), {"w": w})]) == [
        ((x,), {}), ((x, w), {}), ((), {"x": x}), ((x,), {"w": w}),
    ]  # fmt: skip
    assert calls(lambda: [(x, w)]) == [((x, w), {})]


def test_the_environment_switches_it_off():
    code = """
        import torch, triton_gym
        @triton_gym.optimize(examples=[(torch.ones(2),)])
        def f(x): return x + 1
        assert f(torch.ones(2)).tolist() == [2, 2]
        assert "TRITON_GYM_OPTIMIZE is off" in str(f.report()), f.report()
        f.disable(), f.enable(), f.stop()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={"TRITON_GYM_OPTIMIZE": "off"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
