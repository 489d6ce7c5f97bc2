"""Guards: the slow and the fast form agree on calls inside and outside."""

from __future__ import annotations

import inspect

import pytest
import torch

from triton_gym.optimization.guard import ConstantGuard, Guard, TensorGuard


def function(x, w, eps=1e-6, *, options=None):
    raise NotImplementedError


class Unspeakable:
    def __repr__(self):
        raise ValueError("no words for it")


GUARD = Guard(
    signature=inspect.signature(function),
    tensors=(
        TensorGuard("x", "float32", "cpu", ("n", "d"), (0, 1)),
        TensorGuard("w", "float32", "cpu", ("d",), (0,)),
        TensorGuard("options['bias']", "bfloat16", "cpu", (8, "n + 1"), (1, 0)),
    ),
    constants=(ConstantGuard("eps", 1e-6), ConstantGuard("options['causal']", True)),
    containers=(("options", "dict", 2),),
    sizes={"n": ("x", 0), "d": ("x", 1)},
    ranges={"n": (2, None), "d": (2, 64)},
    conditions=("d % 4 == 0",),
)


def call(n=6, d=8, **changes):
    given = {
        "x": torch.zeros(n, d),
        "w": torch.zeros(d),
        "options": {"bias": torch.zeros(n + 1, 8, dtype=torch.bfloat16).T, "causal": True},
    }
    return (), given | changes


OUTSIDE = {
    "too small": call(n=1),
    "too large": call(d=68),
    "condition": call(d=6),
    "dtype": call(x=torch.zeros(6, 8).half()),
    "rank": call(x=torch.zeros(8)),
    "strides": call(x=torch.zeros(8, 6).T),
    "unequal sizes": call(w=torch.zeros(12)),
    "constant": call(eps=1e-5),
    "kind of constant": call(eps=None),
    "device": call(w=torch.zeros(8, device="meta")),
    "no tensor": call(w=3.0),
    "no container": call(options=None),
    "other keys": call(options={"bais": 1, "causal": True}),
    "other keys of constants": call(
        options={"bias": torch.zeros(7, 8, dtype=torch.bfloat16).T, "casual": True}
    ),
    "no repr": call(eps=Unspeakable()),
    "negated as it is read": call(x=torch._neg_view(torch.zeros(6, 8))),
    "a fixed size": call(
        options={"bias": torch.zeros(7, 9, dtype=torch.bfloat16).T, "causal": True}
    ),
    "subclass": call(x=torch.zeros(6, 8).as_subclass(type("Own", (torch.Tensor,), {}))),
    "sparse": call(x=torch.zeros(6, 8).to_sparse()),
}


@pytest.fixture(scope="module")
def inside():
    scope = GUARD.namespace()
    exec(GUARD.source(), scope)
    return scope["inside"]


def test_calls_inside(inside):
    for args, kwargs in (call(), call(n=50, d=64), call(w=torch.nn.Parameter(torch.zeros(8)))):
        assert GUARD.failure(args, kwargs) is None
        assert inside(*args, **kwargs)
    args, kwargs = call()
    assert GUARD.size_values(args, kwargs) == {"n": 6, "d": 8}
    assert [t.dim() for t in GUARD.answer_arguments(args, kwargs)] == [2, 1, 2]


@pytest.mark.parametrize("what", OUTSIDE)
def test_calls_outside(what, inside):
    args, kwargs = OUTSIDE[what]
    assert not inside(*args, **kwargs), what
    assert not GUARD.matches(args, kwargs), what
    assert GUARD.failure(args, kwargs)


def test_parameters_have_the_names_of_builtins_and_conjugates_are_outside():
    def odd(x, type, len, list):
        raise NotImplementedError

    guard = Guard(
        signature=inspect.signature(odd),
        tensors=(TensorGuard("x", "complex64", "cpu", (4,), (0,)),),
        constants=(ConstantGuard("type", "a"), ConstantGuard("len", 3)),
        containers=(("list", "list", 0),),
    )
    scope = guard.namespace()
    exec(guard.source(), scope)
    x = torch.zeros(4, dtype=torch.complex64)
    for given, expected in (((x, "a", 3, []), True), ((x, "a", 3, [1]), False),
                            ((x.conj(), "a", 3, []), False)):  # fmt: skip
        assert scope["inside"](*given) is expected
        assert guard.matches(given, {}) is expected
