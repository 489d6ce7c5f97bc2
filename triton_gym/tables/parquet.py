"""Tables as Parquet, with a data card: a file a task, a row a measurement (extra `parquet`)."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.tables.split import chosen
from triton_gym.tables.table import MEASURES, STATUSES, Table
from triton_gym.task import Case

COLUMNS: Mapping[str, str] = {
    "task": "name of the task",
    "gpu": "key of the GPU",
    "case": "the shape and dtype in words",
    "dtype": "of the work",
    "size_<name>": "each size of the shape",
    "split": "`test` for shapes that are complete, else `train`",
    "knob_<name>": "each knob's value",
    "status": "how the evaluation ended; without `correct` there is no time",
    "runtime_us": "median time, with `runtime_low_us` and `runtime_high_us` its 95 % interval, µs",
    "compile_s": "seconds of compiling; `verification_s`, `benchmark_s` those of the rest",
    "max_error": "greatest error found by the tests, empty where a row was only timed",
    "tolerance": "what would have been accepted",
    "coverage": "share of the time in the kernel's own launches",
    "registers": "of a thread; `spills` bytes spilled; `shared_bytes` of a program",
    "repeats": "measurements that the time is the median of",
    "run": "index into the card's `runs`",
    "baseline_us": "PyTorch's time on the shape, µs",
    "floor_us": "the roofline's time on the shape, µs",
    "flops": "of the shape; `moved_bytes` its least bytes",
}
"""Columns of a file, and what they hold."""


def rows(table: Table) -> dict[str, list[Any]]:
    """The columns of a table: a row for each measurement, those that failed too."""
    at = np.argwhere(table.present)
    case, place = at[:, 0], at[:, 1]
    names = [str(one) for one in table.cases]
    held = set(chosen(table, "test"))
    found: dict[str, list[Any]] = {
        "task": [table.task] * len(at), "gpu": [table.gpu] * len(at),
        "case": [names[i] for i in case], "dtype": [table.cases[i].dtype for i in case],
    }  # fmt: skip
    for size in table.cases[0].sizes if table.cases else ():
        found[f"size_{size}"] = [table.cases[i][size] for i in case]
    found["split"] = ["test" if i in held else "train" for i in case]
    for number, (name, values) in enumerate(table.knobs.items()):
        found[f"knob_{name}"] = [values[i] for i in table.choices[place, number]]
    found["status"] = [str(STATUSES[i]) for i in table.status[case, place]]
    for name in MEASURES:
        found[name] = [_known(value) for value in table.measures[name][case, place]]
    for name in ("baseline_us", "floor_us", "flops", "moved_bytes"):
        found[name] = [_known(value) for value in getattr(table, name)[case]]
    return found


def write_parquet(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a table's rows, with knobs, cases and card in the file's metadata.

    Raises:
        InvalidOptionError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    told = {
        "knobs": {name: list(values) for name, values in table.knobs.items()},
        "cases": [[one.dtype, dict(one.sizes), dict(one.dtypes)] for one in table.cases],
        "task": table.task, "gpu": table.gpu, "card": dict(table.card),
    }  # fmt: skip
    data = arrow.table(rows(table)).replace_schema_metadata({"triton_gym": json.dumps(told)})
    partial = Path(path).with_name(Path(path).name + ".part")
    parquet.write_table(data, partial, compression="zstd")
    partial.replace(path)


def read_parquet(path: str | os.PathLike[str]) -> Table:
    """The table of a file that `write_parquet` wrote.

    Raises:
        InvalidOptionError: it is none, or pyarrow is not installed.
    """
    _, parquet = _arrow()
    try:
        data = parquet.read_table(path)
        told = json.loads(data.schema.metadata[b"triton_gym"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidOptionError(f"{path} is no table of recorded times: {error!r}.") from error
    column = data.to_pydict()
    cases = tuple(Case(*one) for one in told["cases"])
    case = np.array([[str(one) for one in cases].index(name) for name in column["case"]], np.int64)
    knobs = {name: tuple(values) for name, values in told["knobs"].items()}
    wanted = np.array(
        [[v.index(x) for x in column[f"knob_{name}"]] for name, v in knobs.items()], np.int64
    ).T
    choices, place = np.unique(wanted, axis=0, return_inverse=True)
    status = np.full((len(cases), len(choices)), -1, np.int8)
    status[case, place] = [STATUSES.index(next(s for s in STATUSES if s == one))
                           for one in column["status"]]  # fmt: skip
    measures = {}
    for name in MEASURES:
        measures[name] = np.full(status.shape, math.nan)
        measures[name][case, place] = [_number(value) for value in column[name]]
    of_case = {}
    for name in ("baseline_us", "floor_us", "flops", "moved_bytes"):
        of_case[name] = np.full(len(cases), math.nan)
        of_case[name][case] = [_number(value) for value in column[name]]
    return Table(
        task=told["task"], gpu=told["gpu"], knobs=knobs, choices=choices, cases=cases,
        status=status, measures=measures, card=told["card"], **of_case,
    )  # fmt: skip


def data_card(tables: Mapping[str, Table]) -> str:
    """A README of exported tables: what they are, how they were measured, and their columns."""
    whole = sum(table.rows for table in tables.values())
    runs = [run for table in tables.values() for run in table.card.get("runs", ())]
    told = sorted(
        {
            (run.get("device", ""), run.get("driver", ""),
             *(run.get("versions", {}).get(name, "") for name in ("torch", "triton", "triton-gym")),
             str(run.get("utc", ""))[:10])
            for run in runs
        }
    )  # fmt: skip
    lines = [
        "# Recorded times of Triton kernels", "",
        f"{whole:,} measurements of {len(tables)} tasks: how the configurations of each kernel's "
        "knobs did over shapes and dtypes, failures too.", "",
        "| GPU | driver | torch | triton | triton-gym | date |", "|---|---|---|---|---|---|",
        *(f"| {' | '.join(one)} |" for one in told), "",
        "| task | family | rows | correct | shapes | to test on | space | sentinels' spread |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(name, table) for name, table in tables.items()), "",
        "## Method", "",
        *sorted({str(table.card.get("method", "not told")) + "." for table in tables.values()}), "",
        "## Columns", "", "| column | |", "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in COLUMNS.items()), "",
        "A file's metadata, under `triton_gym`, holds the knobs with all their values, the shapes, "
        "and the card with every run's origin and its sentinels.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _line(name: str, table: Table) -> str:
    card = table.card
    spread = card.get("sentinel_spread")
    cells = (
        name, card.get("family", ""), table.rows, int(table.correct.sum()), len(table.cases),
        len(chosen(table, "test")), card.get("space", ""),
        "" if spread is None else f"{spread:.1%}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise InvalidOptionError(
            "Parquet needs pyarrow: pip install 'triton-gym[parquet]'."
        ) from None


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
