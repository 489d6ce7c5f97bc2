"""What is screened is what runs: nobody reads another text in a source than Python does."""

from __future__ import annotations

import sys

import pytest

from triton_gym.evaluation.screening.reading import foreign_encoding
from triton_gym.evaluation.screening.screen import screened
from triton_gym.evaluation.workers.answer import import_answer
from triton_gym.outcome import Status
from triton_gym.task import Entry

ENTRY = Entry("double", ("x",))
PLAIN = '''import torch
import triton
import triton.language as tl

@triton.jit
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    """Doubles."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, 2 * tl.load(x_ptr + at, mask=at < n), mask=at < n)

def double(x):
    y = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), 512),)](x, y, x.numel(), 512)
    return y
'''
BODY = "def kernel(x_ptr, y_ptr, n, BLOCK):\n    raise ValueError('ran')\n"


def test_the_plain_answer_passes():
    assert screened(PLAIN, ENTRY) == (None, PLAIN)


@pytest.mark.parametrize(
    "line",
    ["# coding: unicode_escape", "# -*- coding: raw_unicode_escape -*-", "#coding=utf-7",
     "#!/bin/python\n# vim: set fileencoding=cp037 :", " \t\f# coding:utf_16", "# coding: rot13",
     "\n# coding: unicode_escape"],
)  # fmt: skip
def test_an_encoding_that_hides_text_is_refused(line):
    refused, _ = screened(f"{line}\n{PLAIN}", ENTRY)
    assert refused is not None
    assert refused[0] is Status.REJECTED
    assert "UTF-8" in refused[1]


@pytest.mark.parametrize(
    "line",
    ["# coding: utf-8", "# -*- coding: UTF_8 -*-", "# coding: latin-1", "# encoding=ascii",
     "x = 1\n# coding: unicode_escape", "\n\n# coding: unicode_escape"],
)  # fmt: skip
def test_one_that_does_not_is_none_of_our_business(line):
    assert not foreign_encoding(f"{line}\n{PLAIN}")
    assert screened(f"{line}\n{PLAIN}", ENTRY)[0] is None


def test_latin_1_is_another_text_once_it_matters():
    assert foreign_encoding(f"# coding: latin-1\n{PLAIN}# é\n") == "latin-1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@triton.jit\n", f'@triton.jit(repr="""\n{BODY}""")\n'),
        ("@triton.jit\n", '@triton.jit(repr="""\n  def kernel(): pass""")\n'),
        ("def kernel(", "async \\\ndef kernel("),
    ],
)  # fmt: skip
def test_a_string_that_triton_would_run_is_refused(old, new):
    assert old in PLAIN
    refused, _ = screened(PLAIN.replace(old, new), ENTRY)
    assert refused is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doubles."""', f'"""Doubles.\n{BODY}"""'),
        ("def double(x):\n", 'def double(x):\n    """As\n    def f(x): return 2 * x\n    """\n'),
        ("def double(x):\n", "def double(x):\n    def inner():\n        return 1\n    inner()\n"),
        ("    at =", "    # def kernel(x_ptr): what it was before\n    at ="),
        ("@triton.jit\n", "@triton.autotune([triton.Config({}, num_warps=4)], key=['n'])\n"
                          "@triton.jit\n"),
        ("@triton.jit\n", "\x0c@triton.jit\n"),
    ],
)  # fmt: skip
def test_ordinary_text_is_not(old, new):
    assert old in PLAIN
    assert screened(PLAIN.replace(old, new), ENTRY)[0] is None


def test_a_worker_runs_the_text_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "answer", None)
    path = tmp_path / "answer.py"
    path.write_text("raise SystemExit('the file ran')")
    source = "# coding: unicode_escape\n# \\nx = 1\ndef f():\n    return 'é'\n"
    module = import_answer(str(path), source)
    assert module.f() == "é"
    assert not hasattr(module, "x")
    import inspect

    assert inspect.getsource(module.f) == "def f():\n    return 'é'\n"
