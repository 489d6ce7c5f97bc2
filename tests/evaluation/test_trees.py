"""Arguments and results of every kind, taken apart and put together."""

from __future__ import annotations

import collections
import json

import pytest
import torch

from triton_gym.evaluation import trees

Pair = collections.namedtuple("Pair", "values index")
X = torch.arange(12.0).view(3, 4)
KINDS = [
    X,
    X.t(),
    torch.tensor(2.0),
    torch.empty(0, 3, dtype=torch.int8),
    None,
    (X, None, [1, 2.5, True, "mean", torch.float16]),
    {"a": X, 3: {"b": (X > 1, 1j)}},
    [],
]


@pytest.mark.parametrize("value", KINDS, ids=range(len(KINDS)))
def test_a_value_comes_back_from_its_tree(value):
    tensors, tree = trees.flatten(value)
    sent = trees.read(json.loads(json.dumps(trees.message(tree))))
    assert sent == tree
    again, same = trees.flatten(trees.assemble(sent, iter(tensors)))
    assert same == tree
    assert all(a is b or torch.equal(a, b) for a, b in zip(again, tensors, strict=True))


def test_numbers_of_results_are_judged_like_tensors():
    tensors, tree = trees.flatten({"loss": 0.5, "n": 3, "ok": True}, numbers=True)
    assert [t.dtype for t in tensors] == [torch.float64, torch.int64, torch.bool]
    found = trees.match({"ok": False, "n": 3, "loss": 0.25}, tree)
    assert [t.item() for t in found] == [0.25, 3, False]
    assert trees.names(tree) == ["['loss']", "['n']", "['ok']"]


def test_tuples_lists_and_named_tuples_stand_for_each_other():
    _, tree = trees.flatten(torch.max(X, 1), numbers=True)
    for result in ((X, X), [X, X], Pair(X, X)):
        assert len(trees.match(result, tree)) == 2


class Lazy(torch.Tensor):
    pass


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (X, "is a Tensor; expected a dict of 2"),
        ({"a": X}, r"has the keys \['a'\]; expected the keys \['a', 'b'\]"),
        ({"a": X, "b": (X,)}, r"at \['b'\] has 1 values; expected 2 values"),
        ({"a": X, "b": (X, X)}, r"at \['b'\]\[1\] is a Tensor; expected None"),
        ({"a": None, "b": (X, None)}, r"at \['a'\] is None; expected a torch.Tensor"),
        ({"a": X.as_subclass(Lazy), "b": (X, None)}, "subclass of torch.Tensor"),
    ],
)
def test_what_differs_from_the_reference_is_told(result, told):
    _, tree = trees.flatten({"a": X, "b": (X, None)})
    with pytest.raises(trees.TreeError, match=told):
        trees.match(result, tree)


@pytest.mark.parametrize("value", [X.to_sparse(), {1.5: X}, object(), 1 << 70])
def test_what_no_result_can_be_is_refused(value):
    with pytest.raises(trees.TreeError):
        trees.flatten(value, numbers=True)
