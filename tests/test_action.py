from __future__ import annotations

import pytest

from triton_gym.action import LIMIT, InvalidAction, edited, kernel_from

KERNEL = "a = 1\nb = 2\nc = 3\nb = 2\nd = 4\n"


def test_a_bare_module_is_taken_as_it_is():
    assert kernel_from(KERNEL) == KERNEL


@pytest.mark.parametrize("fence", ["```python", "```", "~~~py"])
def test_prose_around_one_fenced_block_is_dropped(fence):
    reply = f"Here is the kernel:\n\n{fence}\n{KERNEL}{fence[:3]}\n\nIt is fast."
    assert kernel_from(reply) == KERNEL


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("", "empty"),
        ("  \n\t", "empty"),
        ("```python\na = 1\n```\nand\n```python\nb = 2\n```\n", "2 fenced"),
        ("```python\n\n```", "empty"),
        ("```python\na = 1\n", "not closed"),
        ("a = 1\0", "null bytes"),
        ("#" * (LIMIT + 1), "characters"),
        (17, "text"),
    ],
)
def test_what_is_no_kernel_says_why(reply, told):
    with pytest.raises(InvalidAction, match=told):
        kernel_from(reply)


def block(search, replace):
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def test_search_replace_blocks_apply_in_order():
    action = "I change two things.\n" + block("a = 1\n", "a = 7\n") + block("a = 7\n", "a = 8\n")
    assert edited(KERNEL, action) == KERNEL.replace("a = 1", "a = 8")


def test_a_block_may_delete_lines():
    assert edited(KERNEL, block("c = 3\n", "")) == "a = 1\nb = 2\nb = 2\nd = 4\n"


def test_an_edit_that_applies_twice_is_refused_with_its_lines():
    with pytest.raises(InvalidAction, match=r"applies 2 times \(at lines 2, 4\)"):
        edited(KERNEL, block("b = 2\n", "b = 9\n"))


def test_an_edit_that_does_not_apply_quotes_its_first_line():
    with pytest.raises(InvalidAction, match="'z = 1'"):
        edited(KERNEL, block("z = 1\n", "z = 2\n"))


def test_edits_apply_all_or_not_at_all():
    with pytest.raises(InvalidAction):
        edited(KERNEL, block("a = 1\n", "a = 5\n") + block("nope\n", "x\n"))


def test_trailing_blanks_do_not_matter():
    assert edited("x = 1   \ny = 2\n", block("x = 1\n", "x = 3\n")) == "x = 3\ny = 2\n"


def test_a_unified_diff_with_wrong_line_numbers_applies():
    diff = "--- a\n+++ b\n@@ -9,3 +9,3 @@\n b = 2\n-c = 3\n+c = 30\n b = 2\n"
    assert edited(KERNEL, diff) == KERNEL.replace("c = 3", "c = 30")


def test_a_hunk_that_fits_twice_goes_where_its_line_number_says():
    assert edited(KERNEL, "@@ -4 +4 @@\n-b = 2\n+b = 9\n") == "a = 1\nb = 2\nc = 3\nb = 9\nd = 4\n"
    with pytest.raises(InvalidAction, match="applies 2 times"):
        edited(KERNEL, "@@ -1 +1 @@\n-b = 2\n+b = 9\n")


def test_a_diff_in_a_fenced_reply_applies():
    reply = "```diff\n@@ -1,1 +1,1 @@\n-a = 1\n+a = 2\n```\nDone."
    assert edited(KERNEL, reply).startswith("a = 2\n")


def test_no_edit_at_all_explains_the_form():
    with pytest.raises(InvalidAction, match="SEARCH"):
        edited(KERNEL, "make it faster")
