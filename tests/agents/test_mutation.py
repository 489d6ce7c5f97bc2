"""Changes to sources: always Python, never more than was meant."""

from __future__ import annotations

import ast

import numpy as np
import pytest

import triton_gym
from triton_gym.action import edited
from triton_gym.agents.edits import edit_between
from triton_gym.agents.mutation import mutate, sites
from triton_gym.agents.rewriting import straightened

HOST = """\
import triton

def f(m, n):
    return k[(triton.cdiv(m, 64), triton.cdiv(n, 64))](m, n, BLOCK_M=64, BLOCK_N=64)
"""
# Characters of several bytes before a number: the tree counts bytes, Python characters.
WIDE = "def f(x):\n    return k[(1,)](x, 'µ·µ', BLOCK=512)  # µ\n"


def mutants(source, count=60):
    rng = np.random.default_rng(0)
    return [mutate(source, rng) for _ in range(count)]


@pytest.mark.sampled
@pytest.mark.parametrize("name", triton_gym.tasks())
def test_mutants_of_the_catalogue_are_python_and_differ(name):
    task = triton_gym.load(name)
    for source in (task.starter, task.expert):
        changed = mutants(source, 30)
        assert all(ast.parse(mutant) for mutant in changed)
        assert source not in changed
        assert len(set(changed)) > 5


def test_the_same_seed_makes_the_same_mutants():
    starter = triton_gym.load("matmul").starter
    assert mutants(starter) == mutants(starter)


def test_block_and_grid_of_a_dimension_change_together():
    changed = set(mutants(HOST, 200))
    assert HOST.replace("(m, 64)", "(m, 128)").replace("BLOCK_M=64", "BLOCK_M=128") in changed
    assert HOST.replace("64", "128") in changed
    assert HOST.replace("(m, 64)", "(m, 128)") not in changed


def test_launch_parameters_are_added_where_there_are_none():
    changed = set(mutants(HOST, 200))
    assert HOST.replace("BLOCK_N=64)", "BLOCK_N=64, num_warps=8)") in changed
    assert HOST.replace("BLOCK_N=64)", "BLOCK_N=64, num_stages=3)") in changed


def test_offsets_count_bytes():
    assert WIDE.replace("512", "1024") in mutants(WIDE)


@pytest.mark.parametrize("source", ["", "def f(:", "x = 'text'", "f(**options)"])
def test_what_cannot_be_changed_stays(source):
    assert mutate(source, np.random.default_rng(0)) == source


def test_sites_name_what_they_change():
    assert {"num_warps", "num_stages", "softmax: 512", "range", "BLOCK: whole row"} <= {
        site.label for site in sites(triton_gym.load("softmax").starter)
    }


def test_loops_become_their_first_round_and_load_once():
    straight = straightened(triton_gym.load("softmax").starter)
    assert "for " not in straight
    assert straight.count("tl.load(") == 1
    assert straight.count("total += ") == 1


def test_a_load_after_a_store_is_not_dropped():
    kernel = (
        "@triton.jit\ndef k(p):\n    a = tl.load(p)\n    tl.store(p, a + 1)\n    a = tl.load(p)\n"
    )
    assert straightened(kernel) == kernel


@pytest.mark.sampled
@pytest.mark.parametrize("name", triton_gym.tasks())
def test_edits_lead_from_any_version_to_any_other(name):
    task = triton_gym.load(name)
    versions = [task.starter, task.expert, *mutants(task.starter, 8), straightened(task.starter)]
    for current, wanted in zip(versions, versions[1:] + versions[:1], strict=True):
        assert edited(current, edit_between(current, wanted)) == wanted


def test_an_edit_quotes_little_and_no_change_is_an_edit_too():
    starter = triton_gym.load("softmax").starter
    wanted = starter.replace("BLOCK=512", "BLOCK=1024")
    assert len(edit_between(starter, wanted).splitlines()) <= 7
    assert edited(starter, edit_between(starter, starter)) == starter


def test_an_edit_of_a_repeated_line_is_unique():
    current = "a = 1\nb = 2\na = 1\nb = 2\n"
    wanted = "a = 1\nb = 2\na = 1\nb = 3\n"
    assert edited(current, edit_between(current, wanted)) == wanted
