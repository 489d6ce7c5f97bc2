"""The report of `make test-all`: what every test found for every task, from pytest's JUnit files.

    python -m pytest --all-tasks -m "sampled or slow" --collect-only -q > runs/all.txt
    python -m pytest --all-tasks -m "sampled or slow" --junitxml runs/all.xml
    python benchmarks/matrix.py runs/all.xml --collected runs/all.txt --out benchmarks/results/matrix.json

Several files are added up: processors and a GPU may run their parts at once. A row is a test of a
file: how many cases passed, failed or were skipped, in how many seconds, and what failed by name;
with `--collected` also how many there are that no file holds, since the run was ended before.
Run it where the tests ran, since its header has that machine's versions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import record

TOLD = 300
"""Characters of a failure's message that are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="JUnit files of pytest")
    parser.add_argument("--collected", type=Path, help="pytest's list of all that was to run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = [case for path in options.files for case in cases(path)]
    rows = by_test(found)
    if options.collected:
        add_left(rows, options.collected.read_text(encoding="utf-8"))
    names = ("passed", "failed", "skipped", "not_run", "seconds")
    summary = {name: sum(row[name] for row in rows) for name in names}
    summary["seconds"] = round(summary["seconds"], 1)
    record.write(options.out, rows, summary=summary)
    print(json.dumps(summary))
    for row in rows:
        print(f"{row['test']}: {row['passed']} passed, {row['failed']} failed, "
              f"{row['skipped']} skipped, {row['not_run']} not run, {row['seconds']} s")  # fmt: skip
        for failure in row["failures"]:
            print(f"  {failure['case']}: {failure['message']}")


def cases(path: Path) -> Iterable[dict[str, Any]]:
    """The cases of a file: test, parameters, what became of it, seconds.

    A file that pytest could not finish has no cases, which is an error here.
    """
    root = ElementTree.parse(path).getroot()
    for case in root.iter("testcase"):
        name, _, parameters = case.get("name", "").partition("[")
        bad = next((one for one in case if one.tag in ("failure", "error")), None)
        skipped = case.find("skipped") is not None
        yield {
            "test": f"{case.get('classname', '').removeprefix('tests.')}::{name}",
            "case": parameters.removesuffix("]"),
            "status": "failed" if bad is not None else "skipped" if skipped else "passed",
            "seconds": float(case.get("time", 0)),
            "message": "" if bad is None else _short(bad.get("message", "")),
        }


def by_test(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each test.

    Raises:
        SystemExit: there is nothing to report.
    """
    rows: dict[str, dict[str, Any]] = {}
    for case in found:
        row = rows.setdefault(
            case["test"],
            {"test": case["test"], "passed": 0, "failed": 0, "skipped": 0, "not_run": 0,
             "seconds": 0.0, "failures": []},
        )  # fmt: skip
        row[case["status"]] += 1
        row["seconds"] = round(row["seconds"] + case["seconds"], 2)
        if case["status"] == "failed":
            row["failures"].append({"case": case["case"], "message": case["message"]})
    if not rows:
        raise SystemExit("There are no cases in these files: the tests did not run to their end.")
    return sorted(rows.values(), key=lambda row: str(row["test"]))


def add_left(rows: list[dict[str, Any]], collected: str) -> None:
    """Note of each test how many of its cases were not run, by pytest's list of them."""
    counts = Counter(
        f"{path.removeprefix('tests/').removesuffix('.py').replace('/', '.')}::{name}"
        for path, name in re.findall(r"^(\S+\.py)::(\w+)", collected, re.MULTILINE)
    )
    known = {row["test"]: row for row in rows}
    for test, count in counts.items():
        row = known.get(test) or {**dict.fromkeys(known[rows[0]["test"]], 0), "test": test,
                                  "failures": []}  # fmt: skip
        row["not_run"] = count - row["passed"] - row["failed"] - row["skipped"]
        if test not in known:
            rows.append(row)


def _short(message: str) -> str:
    """A message in a line, of absolute paths the last part."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", " ".join(message.split()))
    return text if len(text) <= TOLD else f"{text[: TOLD - 1]}…"


if __name__ == "__main__":
    main()
