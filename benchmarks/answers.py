"""Answers that differ, so that nothing is answered from a cache."""

from __future__ import annotations

import ast
import dataclasses
import re

import triton_gym
from triton_gym import Case
from triton_gym.task import Task


def distinct(source: str, tag: object) -> str:
    """The same answer with other names for its kernels.

    Triton's cache key holds the kernels' own text, names included.
    """
    for name in kernels(source):
        source = re.sub(rf"\b{name}\b", f"{name}_{tag}", source)
    return source


def kernels(source: str) -> list[str]:
    """Names of the functions that are launched."""
    tree = ast.parse(source)
    launched = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    }
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in launched]


def kernelbench_softmax() -> Task:
    """Softmax at the size of KernelBench's level1/23."""
    case = Case("float32", {"rows": 4096, "cols": 393216})
    return dataclasses.replace(
        triton_gym.load("softmax"), name="softmax_kernelbench", bench=(case,)
    )
