"""The site's pages: what they show is what happens, and nothing in them leads nowhere.

`make docs` builds the site, where every warning is an error; this is what can be told without it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import triton_gym

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MADE = {DOCS / "tasks", DOCS / "reference" / "cli.md"}
"""What the build makes."""
PAGES = sorted(
    page for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")] if not MADE & {page, page.parent}
)


def site(name):
    """A module of docs/_site."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(f"_site.{name}")
    finally:
        sys.path.remove(str(DOCS))


WHY = (DOCS / "why.md").read_text(encoding="utf-8")
SHOWN = [pytest.param(shown, id=f"why.md:{shown.line}") for shown in site("answers").shown(WHY)]


def like(text):
    """A text without its numbers, which other versions of Triton may have otherwise."""
    return re.sub(r"[\d.]+(e-?\d+)?", "#", text)


@pytest.mark.parametrize("shown", SHOWN)
def test_what_a_page_says_became_of_an_answer_is_what_becomes_of_it(shown, evaluator):
    found = site("answers").outcome(evaluator, shown)
    if importlib.import_module("triton").__version__ == "3.9.0":
        assert like(found) == like(shown.outcome)
    assert found.partition(":")[0] == shown.outcome.partition(":")[0]


def test_every_status_has_its_section_and_an_answer():
    sections = re.findall(r"^## `(\w+)`$", WHY, re.MULTILINE)
    assert set(sections) == set(triton_gym.Status)
    assert {param.values[0].outcome.partition(":")[0] for param in SHOWN} == set(triton_gym.Status)


def test_messages_that_only_a_gpu_gives_are_quoted_as_they_are():
    cheating = WHY.partition("## `cheating`")[2].partition("\n## ")[0]
    quoted = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", cheating)
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "triton_gym" / "evaluation" / "backends" / "cuda").glob("*.py")
    )
    assert len(quoted) == 2
    for words in quoted:
        assert " ".join(words.split()) in sources


def test_the_readme_shows_what_its_example_prints(evaluator, monkeypatch):
    chosen = "triton_gym.evaluation.service.pool.evaluator_for"
    monkeypatch.setattr(chosen, lambda device, **options: evaluator)
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    code, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), {})
    assert like(printed.getvalue()) == like(output)


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        led = (page.parent / path).resolve() if path else page
        assert led.exists() or led in MADE, f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(led), f"{led.name} has no heading {anchor}"


def test_every_page_stands_in_a_table_of_contents():
    listed = {DOCS / "index"}
    for page in DOCS.rglob("*.md"):
        for toc in re.findall(
            r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            for line in toc.splitlines():
                if line and not line.startswith(":"):
                    listed.add(page.parent / re.sub(r".*<(.*)>", r"\1", line))
    pages = {page.with_suffix("") for page in PAGES if page.is_relative_to(DOCS)}
    assert pages - listed == set()
    assert listed - pages == {DOCS / "reference" / "cli"}  # made by the build


def test_the_catalogues_page_lists_every_task():
    page = (DOCS / "catalogue.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(triton_gym.registration.catalogue())


@pytest.mark.sampled
@pytest.mark.parametrize("name", triton_gym.registration.catalogue())
def test_a_tasks_page_is_its_contract(name):
    pages, task = site("task_pages"), triton_gym.load(name)
    times = site("results").times().get(name, [])
    page, drawing = pages.page(task, times), pages.drawing(task, times)
    assert task.title in page
    assert task.starter.strip() in page
    assert str(task.bench[0]) in page
    for knob in task.knobs:
        assert f"`{knob}`" in page
    for time in times:
        assert f"{time.us:.1f}" in page
        assert time.commit in page
    assert ElementTree.fromstring(drawing).tag.endswith("svg")


def test_times_of_every_scored_suite_stand_on_the_tasks_pictures():
    pages, results = site("task_pages"), site("results")
    known = results.times()
    files = {time.file for some in known.values() for time in some}
    for suite in ("core", "mlperf", "spec", "backward"):
        assert f"suites-{suite}-h200.json" in files
    for name in ("gelu", "llama_rope", "lbm_d3q19", "softmax_backward"):
        marks = {time.answer for time in known[name] if "H200" in time.device}
        drawing = pages.drawing(triton_gym.load(name), known[name])
        assert {"starter", "expert", "PyTorch eager"} <= marks
        assert all(f">{answer}<" in drawing for answer in marks)


def test_labels_of_a_roofline_lie_above_its_axis_and_apart():
    roofline = site("roofline")
    roof = roofline.Roof("H200", 4800.0, 60.0, 0.25)
    marks = [roofline.Mark(f"answer{i}", 0.25, 0.02 / (1 + i / 100)) for i in range(6)]
    drawing = roofline.picture(roof, marks)
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>answer', drawing)]
    assert len(heights) == 6
    assert max(heights) < roofline.HEIGHT - roofline.BOTTOM
    assert min(b - a for a, b in itertools.pairwise(heights)) >= roofline.LINE - 0.2


def test_the_command_lines_page_has_every_command(tmp_path):
    site("commands").write(tmp_path / "cli.md")
    page = (tmp_path / "cli.md").read_text(encoding="utf-8")
    for command in ("eval", "run", "serve", "train grpo", "store export"):
        assert f"## triton-gym {command}\n" in page
    assert "`--device`" in page


def test_the_tests_that_pages_name_are_there():
    page = (DOCS / "judging.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    functions = {
        name for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }  # fmt: skip
    named = re.findall(r"`(?:[\w/]*/)?(test_\w+(?:\.py)?)`", page)
    assert len(named) > 50
    assert [name for name in named if name not in files | functions] == []
