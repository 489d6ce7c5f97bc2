"""The words between an environment and a language model."""

from __future__ import annotations

import pytest

from triton_gym import extract, prompt


@pytest.fixture
def observed():
    def observe(feedback, mode="kernel"):
        form = "SEARCH/REPLACE blocks" if mode == "edit" else "one module"
        return {"task": f"Sum.\nReply with {form}.\n", "kernel": "a = 1\n", "feedback": feedback}

    return observe


def test_the_starting_kernel_is_not_shown_where_a_module_is_asked_for(observed):
    assert "a = 1" not in prompt.first_turn(observed("start"))
    assert "a = 1" in prompt.first_turn(observed("start", "edit"))
    assert "start" in prompt.first_turn(observed("start", "edit"))


def test_a_later_turn_asks_for_what_is_missing(observed):
    assert "faster" in prompt.next_turn(observed("correct: 5 µs"))
    assert "corrected" in prompt.next_turn(observed("incorrect: at index 3"))
    assert "a = 1" in prompt.next_turn(observed("correct: 5 µs", "edit"))


def test_long_feedback_keeps_both_ends(observed):
    text = prompt.next_turn(observed("compile_error: " + "x" * 5000 + " line 7"))
    assert len(text) < 800
    assert "compile_error" in text
    assert "line 7" in text


def test_replies_are_what_environments_read():
    source = "import triton\n"
    said = f"<think>hm ```x``` </think>\n{prompt.module_reply(source)}<|im_end|>\n<|im_start|>"
    assert extract(said) == source
    edit = "<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE<|im_end|>"
    assert extract(edit, current="a = 1\n") == "a = 2\n"
