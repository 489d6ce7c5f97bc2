"""The report of the whole matrix, from pytest's JUnit files."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_catalogue" name="test_trivial_answers_fail[softmax]" time="1.5"/>
<testcase classname="tests.test_catalogue" name="test_trivial_answers_fail[matmul]" time="2.0">
<failure message="AssertionError:&#10; /folder/x/check.py says no">trace</failure></testcase>
<testcase classname="tests.test_envs" name="test_check[a]" time="0.1"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def matrix(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("matrix")
    sys.modules.pop("matrix", None)


def test_cases_are_added_up_by_test_and_failures_named(matrix, monkeypatch, tmp_path):
    one, two, out = tmp_path / "a.xml", tmp_path / "b.xml", tmp_path / "matrix.json"
    one.write_text(JUNIT)
    two.write_text(JUNIT.replace("[matmul]", "[gelu]"))
    listed = tmp_path / "all.txt"
    trivial = "tests/test_catalogue.py::test_trivial_answers_fail"
    listed.write_text("\n".join(f"{trivial}[{i}]" for i in range(5)) + "\ntests/test_b.py::test_c")
    given = [one, two, "--collected", listed, "--out", out]
    monkeypatch.setattr(sys, "argv", ["matrix.py", *map(str, given)])
    matrix.main()
    found = json.loads(out.read_text())
    assert found["summary"] == {
        "passed": 2, "failed": 2, "skipped": 2, "not_run": 2, "seconds": 7.2
    }  # fmt: skip
    trivial = next(r for r in found["rows"] if r["test"].endswith("test_trivial_answers_fail"))
    assert [f["case"] for f in trivial["failures"]] == ["matmul", "gelu"]
    assert trivial["failures"][0]["message"] == "AssertionError: check.py says no"


def test_files_without_cases_are_no_report(matrix):
    with pytest.raises(SystemExit, match="did not run"):
        matrix.by_test([])
