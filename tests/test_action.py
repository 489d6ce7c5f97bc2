from __future__ import annotations

import difflib
import random
import time

import pytest

from triton_gym import extract
from triton_gym.action import LIMIT, REPLY_LIMIT, InvalidAction, edited, kernel_from
from triton_gym.agents.edits import edit_between

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
        ("a = '\udcff'\n", "lone surrogate"),
        ("#" * (LIMIT + 1), "characters"),
        ("<think>" + "a " * REPLY_LIMIT, "characters"),
        ("<think>never done\n```python\na = 1\n```", "thoughts"),
        ("<|channel|>analysis<|message|>```python\na = 1\n```", "thoughts"),
        (17, "text"),
    ],
)
def test_what_is_no_kernel_says_why(reply, told):
    with pytest.raises(InvalidAction, match=told):
        kernel_from(reply)


MODULE = "import triton\n\n\ndef softmax(x):\n    return x\n"
FENCED = f"```python\n{MODULE}```\n"


@pytest.mark.parametrize(
    "reply",
    [
        MODULE,
        "\ufeff" + MODULE,
        MODULE.replace("\n", "\r\n"),
        f"```python\n\ufeff{MODULE}```",
        f"<think>hm</think>\ufeff{MODULE}",
        f"<think>maybe ```python\nx = 1\n``` no</think>\n{FENCED}",
        f"it could be\n```\nx = 1\n```\n</think>\n\n{FENCED}",
        f"<think>\none\n</think>\nSo:\n<think>\n```\ntwo\n```\n</think>\n{FENCED}",
        "<think>" + "hm " * LIMIT + f"</think>{FENCED}",
        f"Here:\n{FENCED}Use it:\n```python\ny = softmax(x)\n```\nor\n```bash\npython a.py\n```\n",
        f"{FENCED}The same again:\n{FENCED}",
        f"```python\n{MODULE}`````\n",
        f"~~~~python\n{MODULE}~~~~~\nDone.",
        "1. ```python\n" + "".join(f"   {line}\n" for line in MODULE.splitlines()) + "   ```\n",
        f"Sure! ```python\n{MODULE}```\nDone.",
        f"```python\n{MODULE.rstrip()}```",
        f"````markdown\nHere:\n{FENCED}````\n",
        f"{FENCED.strip()}<|im_end|>\n<|im_start|>assistant\nwell",
        f"{FENCED}Use it:\n```python\nfrom kernel import softmax\n\nprint(softmax(x))\n```\n",
        f"{FENCED}Again:\n```python\n\n{MODULE}\n\n```\n",
        f"```markdown\nHere:\n{FENCED}```\n",
        f"```markdown\nHere:\n```python\n{MODULE}```\n",
        f"Sure! ```python\n{MODULE}```\\n and that is all.",
        f"<answer>\n{MODULE}</answer>",
        f"<think>no</think>\n<answer>\n```python\n{MODULE}```</answer>\n",
        f"<reflection>\n```\nx = 1\n```\n</reflection>\n{FENCED}",
        f"<seed:think>\n```python\nx = 1\n```</seed:think>\n{FENCED}",
        f"<|begin_of_thought|>\n```\nx\n<|end_of_thought|>\n<|begin_of_solution|>\n{MODULE}"
        "<|end_of_solution|>",
        f"<|channel|>analysis<|message|>hm ```python\nx = 1<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{FENCED}<|return|>",
    ],
)
def test_every_form_of_reply_gives_the_module_that_defines_the_entry_point(reply):
    assert extract(reply, "softmax").strip() == MODULE.strip()


QUOTING = f'"""Rows.\n\n```python\ny = f(x)\n```\n\nends with </think>, it says\n"""\n{MODULE}'


@pytest.mark.parametrize(
    "module",
    [
        QUOTING,
        MODULE + "# it ends at </s>\n# or <|im_end|>\nLAST = 1\n",
        MODULE + 'EOS = "</s>"\nEND = "</think>"  # as models say it\n',
        MODULE + '# a docstring may say\n"""\n```\nnot closed\n"""\n',
        MODULE + '\n\ndef help():\n    """\n    ```\n    softmax(x)\n    ```\n    """\n',
    ],
)
def test_a_module_is_taken_as_it_is_whatever_its_texts_quote(module):
    assert extract(module, "softmax") == module
    assert extract(f"~~~\n{module}~~~\n", "softmax") == module


def test_several_blocks_that_could_all_be_meant_are_refused_with_their_lines():
    other = FENCED.replace("return x", "return 2 * x")
    with pytest.raises(InvalidAction, match=r"2 fenced code blocks, 2 of which define `softmax`"):
        extract(FENCED + other, "softmax")
    with pytest.raises(InvalidAction, match=r"none of which define `gelu` \(at lines 1, 8\)"):
        extract(FENCED + other, "gelu")


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


@pytest.mark.parametrize("odd", list("\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85\r"))
def test_an_edit_changes_no_line_that_it_does_not_name(odd):
    before = f"a = 'x{odd}y'\r\nb = 2\r\nc = 3"
    assert edited(before, block("b = 2\n", "b = 3\n")) == before.replace("b = 2", "b = 3")


def test_a_block_may_hold_lines_that_look_like_dividers():
    before = "Title\n=====\na = 1\n"
    assert edited(before, block("Title\n=====\n", "Other\n=====\n")) == "Other\n=====\na = 1\n"


@pytest.mark.parametrize("told", ["is not closed", "another SEARCH", "no line ======="])
def test_half_a_block_is_no_edit_and_spoils_the_others(told):
    whole = block("a = 1\n", "a = 5\n")
    half = {
        "is not closed": "<<<<<<< SEARCH\nb = 2\n=======\nb = 3\n",
        "another SEARCH": "<<<<<<< SEARCH\n" + whole,
        "no line =======": "<<<<<<< SEARCH\nb = 2\n>>>>>>> REPLACE\n",
    }
    with pytest.raises(InvalidAction, match=told):
        edited(KERNEL, whole + half[told])


def test_the_counts_of_a_hunk_are_believed_where_they_fit():
    diff = "--- a\n+++ b\n@@ -1,2 +1,3 @@\n a = 1\n+++ x\n b = 2\n"
    assert edited("a = 1\nb = 2\n", diff) == "a = 1\n++ x\nb = 2\n"
    assert edited("a = 1\nb = 2\n", diff.replace("1,3", "1,9")) == "a = 1\n++ x\nb = 2\n"
    assert edited("a = 1\nb = 2\n", f"~~~diff\n{diff}~~~\nFaster.") == "a = 1\n++ x\nb = 2\n"


ODD = ["a", "  a", "b", "", "+ x", "- y", "++ z", "-- w", "--- a", "+++ b", "@@ -1 +1 @@", "```",
       "~~~", "=====", "\\ n", "<<<<<", "index 3", "x\u2028y", "x\x0cy", "x\x85y", "é  "]  # fmt: skip


def changed(rng):
    """Two versions of a text of odd lines, each ended by a line end."""
    before = rng.choices(ODD, k=rng.randint(1, 25))
    after = list(before)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(after) + 1)
        after[at : at + rng.randint(0, 1)] = rng.choices(ODD, k=rng.randint(0, 2))
    return before, after


@pytest.mark.parametrize("part", range(4))
def test_generated_edits_give_exactly_the_other_version(part):
    for seed in range(400 * part, 400 * (part + 1)):
        rng = random.Random(seed)
        before, after = changed(rng)
        old, new = ("".join(f"{line}\n" for line in lines) for lines in (before, after))
        if old == new or not after:
            continue
        context = rng.choice([1, 2, 3])
        diff = difflib.unified_diff(before, after, "a", "b", n=context, lineterm="")
        fence = rng.choice(["", "````", "~~~~~"])
        text = "\n".join(diff) + "\n"
        reply = f"So:\n{fence}diff\n{text}{fence}\nDone." if fence else text
        assert edited(old, reply) == new, (seed, reply)
        if not any("=====" in line or "SEARCH" in line for line in (*before, *after)):
            assert edited(old, edit_between(old, new)) == new, seed


HOSTILE = ["```", "~~~~a", "```a", "\n", "<think>", "</think>", " ", "\t", "=====\n", "</s>",
           "<<<<< SEARCH\n", ">>>>> REPLACE\n", "@@ -1 +1 @@\n", "+a\n", "-a\n", "a\n", " a\n",
           "\\\n", "--- a\n", "+++ b\n", "1. ", "from ", "import ", "softmax", "def ", "=", ":",
           "\r\n", "\x0c", "\ud800", "class softmax\n", "x " * 40, "[THINK]"]  # fmt: skip


@pytest.mark.parametrize("part", range(2))
def test_generated_hostile_replies_are_read_or_refused_in_time(part):
    """Repeated and mixed, near the longest that is allowed; processor time, generously bounded."""
    for seed in range(8 * part, 8 * (part + 1)):
        rng = random.Random(seed)
        unit = "".join(rng.choices(HOSTILE, k=rng.randint(1, 5)))
        head = "".join(rng.choices(HOSTILE, k=3))
        reply = (head + unit * (LIMIT // len(unit)))[: LIMIT - 10]
        thought = "<think>" + unit * ((REPLY_LIMIT - 2 * LIMIT) // len(unit)) + "</think>\n"
        kernel = ("a\n" * LIMIT)[: LIMIT - 100]
        for text, current in ((reply, None), (reply, kernel), (thought + reply, kernel)):
            started = time.process_time()
            try:
                assert isinstance(extract(text, "softmax", current=current), str)
            except InvalidAction:
                pass
            assert time.process_time() - started < 3, (seed, unit)
