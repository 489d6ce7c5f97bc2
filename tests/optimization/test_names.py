"""A user's function may be called as anything that its answer is put together of."""

from __future__ import annotations

import pytest

from triton_gym.optimization.starts.names import kept_apart
from triton_gym.optimization.starts.pieces import piece

PARTS = [
    "def maximum(a, b):\n    return tl.maximum(a, b)\n",
    "def largest(a, dim):\n    return tl.reduce(a, dim, maximum)\n",
    "def product(a, out, maximum_=1):\n    return largest(a, dim=maximum(a, out))\n",
]


def run(parts, body, entry, parameters, *given):
    class Language:
        maximum = staticmethod(max)
        reduce = staticmethod(lambda a, dim, function: function(a, dim))

    scope = {"tl": Language}
    text = "\n".join([*parts, f"def {entry}({', '.join(parameters)}):\n{body}"])
    exec(compile(text, "answer", "exec"), scope)
    return scope[entry](*given)


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [("f", ["x", "y"]), ("maximum", ["x", "y"]), ("product", ["x", "y"]), ("f", ["product", "y"]),
     ("largest", ["maximum", "product"]), ("maximum", ["maximum_", "product"])],
)  # fmt: skip
def test_an_answer_works_whatever_the_function_is_called(entry, parameters):
    first, second = parameters
    body = f"    arg0 = {first}\n    arg1 = {second}\n    return product(arg0, arg1)\n"
    parts, body = kept_apart(PARTS, body, entry, parameters)
    assert run(parts, body, entry, parameters, 3, 5) == 5


def test_nothing_changes_where_nothing_collides():
    body = "    return product(x, y)\n"
    assert kept_apart(PARTS, body, "f", ["x", "y"]) == (PARTS, body)


@pytest.mark.parametrize("name", ["attention", "largest", "products"])
def test_every_piece_can_be_renamed_and_stays_python(name):
    text = piece(name)
    entry = {"attention": "attention", "largest": "largest_values", "products": "product"}[name]
    (made,), body = kept_apart([text], f"    return {entry}(x)\n", entry, ["x"])
    compile(made, name, "exec")
    assert f"def {entry}_(" in made
    assert body == f"    return {entry}_(x)\n"
