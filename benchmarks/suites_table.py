"""The last section of docs/suites.md: what became of whole checkouts, from suites.py's files.

    python benchmarks/suites_table.py

Reads `benchmarks/results/suites-*-cpu.json`. A problem counts as loaded where its reference was
judged on a case; what did not load stands below the table, by the kind of reason, with the words
that the loader gives a user.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import record

PAGE = record.RESULTS.parents[1] / "docs" / "suites.md"
HEADING = "## Real checkouts"
_BEGINNING = re.compile(
    r"^(The reference( in float64 \(the oracle\))? of task '\w+' fails( on [^()]*?)? in |"
    r"The reference of |The tests of \S+ fail: |\S+\.py (gives no inputs: )?)"
)
"""What every reason of a kind begins with."""
OTHER = "its own code fails"
NAMED = 40
"""So many problems of a kind are named; of more the file has the names."""
KINDS = (
    (r"needs the weights of", "weights that are not here",
     "Nothing is downloaded while a suite is loaded; with them in the cache the problem loads."),
    (r"torch_npu|in \w+ \(\w+\.py, line \d+\): .*npu", "for Ascend's processors",
     "They call `torch_npu`, which PyTorch for GPUs does not have."),
    (r"gave \d+ arguments for \d+ parameters", "arguments that its own module does not take",
     "It lists keyword-only arguments among those by position; these problems are for Ascend's "
     "processors as well."),
    (r"is not installed|No module named", "a package that is not here",
     "With it the problem may load."),
    (r"which is not there", "a file of its data set",
     "Its workloads name a file that is not in the checkout, and nothing says what it means."),
    (r"Nothing can be judged.*(own error|rounding)", "hardly more than rounding",
     "Its result is the mean of what a norm centred, or the like: its own rounding is as large as "
     "what its values differ by."),
    (r"Nothing can be judged", "nothing can be judged",
     "Zeros, a constant or the result of other inputs pass its own tolerance."),
    (r"returns no elements", "no elements", "Its result is empty."),
    (r"is random", "random",
     "Equal inputs give different results, and not by dropout alone: it draws numbers of its own, "
     "weights or samples."),
    (r"Expected parameter .* of distribution|_\w*rand' fails", "random",
     "Equal inputs give different results, and not by dropout alone: it draws numbers of its own, "
     "weights or samples."),
    (r"is not finite", "not a number",
     "Its result is NaN or infinite for its own inputs: it reads outside of its tensors, divides "
     "by zero, or is not defined there."),
    (r"one program waits for", "programs that wait for each other",
     "Without a GPU they run one after the other, and the oracle is computed there."),
    (r"returns a view or an argument", "a view",
     "The operator returns its argument or a view of it: there is nothing to compute."),
    (r"returns nothing and writes", "no result", "It keeps to itself what its kernel computes."),
    (r"must return tensors|it is of type|with what no answer can be given", "an object",
     "It takes or returns an optimizer, a context or the like, which is neither tensor nor value."),
    (r"defines no function", "another name", "The file defines no function of the problem's name."),
    (r"call no function that launches", "a kernel that is launched by the tests",
     "Its blocks are tuned, and the grid of the tests does not follow from them: what it computes "
     "depends on what the tuner chooses."),
    (r"writes to memory outside|ZeroDivisionError", "a published call that is wrong",
     "The kernel writes outside of the tensors that its tests give it, or divides by a count of "
     "zero."),
    (r"Torch not compiled with CUDA", "a GPU", "Its reference itself puts tensors on a GPU."),
    (r"argument: 'rank'", "several GPUs", "Its inputs are made for each of several ranks."),
    (r"takes more than [\d,]+ loads|too many to emulate", "too long to emulate",
     "Its kernel has more loads, stores and products than are emulated on a CPU, where its oracle "
     "runs."),
    (r"has no aten\.|'aten' object has no attribute", "unknown to this PyTorch",
     "This version of PyTorch has no such operator."),
    (r"No sample of PyTorch's op_db", "no sample",
     "No sample of PyTorch's own tests calls the overload, fits its schema or has a gradient that calls "
     "it, on tensors and numbers alone."),
    (r"takes more than", "too long", "Loading it was ended after the time that was given."),
)  # fmt: skip
"""A pattern of the reason, the kind's name, and what is to be said of it."""
_HEAD = """Whole checkouts, each problem loaded in a process of its own on a CPU (`benchmarks/suites.py`):
its file is run, a small case is found, and its reference is judged there, on two sets of inputs,
against its float64 oracle. This section is written by `benchmarks/suites_table.py`.

Listing takes less than 0.1 s of each suite. A suite with fewer problems in the table than it has was
not run to its end; what took too long did so on a busy machine, with 5 to 60 s of a processor each.
flashinfer-bench's data set is not part of its own repository: its definitions and workloads are those of
a fork, without the files of tensors that some workloads name, so these inputs are laid out as the
definitions say, which the tasks tell. Of SOL-ExecBench there are the examples and samples of its
repository. TritonBench-G's `matmul_kernel` has its size, 4096, written in the kernel and so no smaller
shape: it loads untried, and to judge it by its emulation on a CPU took 146 s of a processor.
"""


def main() -> None:
    reports = [
        (path.name, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(record.RESULTS.glob("suites-*-cpu.json"))
    ]
    before = PAGE.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    text = "\n".join([before, "", HEADING, "", _HEAD, *_table(reports), *_exceptions(reports)])
    PAGE.write_text(text.rstrip() + "\n", encoding="utf-8")


def _table(reports: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    yield "| suite | checkout | listed | load | judged on a case | processor s | file |"
    yield "|---|---|---|---|---|---|---|"
    for name, report in reports:
        rows = report["rows"]
        loaded = [row for row in rows if row["loaded"]]
        commit = f"{report['checkout']} {report['checkout_commit'][:7]}".replace("unknown", "")
        seconds = sum(row["cpu_seconds"] for row in rows)
        yield (
            f"| {report['suite']} | {commit.strip()} | {len(rows)} | {len(loaded)} | "
            f"{sum(map(_judged, loaded))} | {seconds:.0f} | {name} |"
        )
        levels = dict.fromkeys(re.findall(r"^level\d+(?=/)", "\n".join(_keys(rows)), re.MULTILINE))
        for level in levels:
            some = [row for row in rows if row["problem"].startswith(f"{level}/")]
            held = [row for row in some if row["loaded"]]
            yield (
                f"| – {level} | | {len(some)} | {len(held)} | "
                f"{sum(map(_judged, held))} | "
                f"{sum(row['cpu_seconds'] for row in some):.0f} | |"
            )
    yield ""


def _judged(row: Mapping[str, Any]) -> bool:
    """Whether a reference was judged, when it was loaded or right after."""
    return bool(row["judged_at_load"] or row.get("judged_later"))


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["problem"] for row in rows]


def _exceptions(reports: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """What did not load, by suite and kind."""
    for _, report in reports:
        refused = [row for row in report["rows"] if not row["loaded"]]
        untried = [row for row in report["rows"] if row["loaded"] and not _judged(row)]
        if not refused and not untried:
            continue
        yield f"### {report['checkout']} ({report['suite']})\n"
        kinds = Counter(_kind(row["why"]) for row in refused)
        for (kind, said), count in kinds.most_common():
            some = [row for row in refused if _kind(row["why"]) == (kind, said)]
            yield f"- **{kind}** ({count}): {said} {_named(some, kind)}".rstrip()
        if untried:
            yield (
                f"- **not judged here** ({len(untried)}): they load, but to judge their smallest "
                f"case on a CPU takes longer than was given. {_listed(_keys(untried))}"
            )
        yield ""


def _kind(why: str) -> tuple[str, str]:
    """Name of a reason's kind, and what is to be said of it."""
    for pattern, kind, said in KINDS:
        if re.search(pattern, why):
            return kind, said
    return OTHER, "In the loader's words:"


def _named(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    if kind in (OTHER, "a package that is not here"):
        return "".join(f"\n  - `{row['problem']}`: {_short(row['why'])}" for row in rows)
    return _listed(_keys(rows))


def _listed(keys: Sequence[str]) -> str:
    if len(keys) > NAMED:
        return "The file names them."
    return ", ".join(f"`{key}`" for key in keys) + "."


def _short(why: str) -> str:
    """A reason in a line without what Markdown would take for its own."""
    text = _BEGINNING.sub("", " ".join(why.split()))
    text = re.sub(r"([\\*_\[\]<>|#~$`])", r"\\\1", text)
    return text if len(text) <= 240 else text[:239] + "…"


if __name__ == "__main__":
    main()
