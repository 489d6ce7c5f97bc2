"""Bytes that have to be read: what results are made of, not what lies beside it."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from triton_gym.suites.reading import Reading

ROWS, COLS = 64, 32


def dropped(x, y, table, at):
    unused = (x @ y.T).relu()
    unused.add_(1.0)
    return x.exp()


def chosen(x, y, table, at):
    return torch.where(x > 0, y, 0.0)


def in_place(x, y, table, at):
    total = torch.zeros_like(x[:1])
    total.add_(y[:2].sum(0))
    return total.exp_()


def twice(x, y, table, at):
    a, b = x.chunk(2, dim=-1)
    return a * torch.sigmoid(b) + a


def written_to(x, y, table, at):
    x.clone().add_(y)
    return y * 2


ALL = ROWS * COLS * 4
CASES = {
    "an argument that is not used": (lambda x, y, table, at: x * 2, ALL),
    "all of them": (lambda x, y, table, at: (x + y) @ table.T, 2 * ALL + 1000 * COLS * 4),
    "a result that is dropped": (dropped, ALL),
    "a condition counts": (chosen, 2 * ALL),
    "rows of a table": (
        lambda x, y, table, at: torch.nn.functional.embedding(at, table), 8 * COLS * 4 + 8 * 8,
    ),
    "rows of a table by index": (lambda x, y, table, at: table[at], 8 * COLS * 4 + 8 * 8),
    "a slice": (lambda x, y, table, at: x[:, -1].exp(), ROWS * 4),
    "both halves": (twice, ALL),
    "slices that overlap": (lambda x, y, table, at: x[1:] - x[:-1], ALL),
    "a row for all": (lambda x, y, table, at: x[0].expand(ROWS, COLS) + y, COLS * 4 + ALL),
    "a view is the result": (lambda x, y, table, at: x.T, ALL),
    "in place, in a buffer": (in_place, COLS * 4 + 2 * COLS * 4),
    "what was added to another": (written_to, ALL),
    "two lookups": (lambda x, y, table, at: table[at].sum() + table[at[:3]], 8 * COLS * 4 + 8 * 8),
    "shapes alone": (lambda x, y, table, at: torch.ones(y.shape), 0),
}  # fmt: skip


@pytest.mark.parametrize("fake", [True, False], ids=["fake", "real"])
@pytest.mark.parametrize("name", CASES)
def test_bytes_that_are_read(name, fake):
    function, expected = CASES[name]
    with FakeTensorMode() if fake else torch.no_grad():
        tensors = [torch.rand(ROWS, COLS), torch.rand(ROWS, COLS), torch.rand(1000, COLS),
                   torch.arange(8)]  # fmt: skip
        with Reading(tensors) as reading:
            result = function(*tensors)
    assert reading.bytes([result]) == expected
