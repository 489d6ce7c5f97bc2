"""Exchange with Kernel Tuner (1.5): its cache files and T4 results, written and read.

Of a cache file Kernel Tuner wants: `device_name`, `kernel_name`, `tune_params_keys` in order,
`cache` as the *last* key; times in milliseconds; compile, verification and benchmark time on every
row, in milliseconds too; a failure as the name of its kind. A table that is not complete raises
there unless restrictions exclude the gaps, so those are returned with it.

T4 (the FAIR auto-tuning schema): a list of results, each with a configuration, `times`, its
`invalidity` and measurements. The schema says `compilation_time`, the tool writes `compilation`,
and files of its hub spell "miliseconds"; all of them are read. The tool writes a failure's name as
the value of its time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triton_gym.errors import InvalidOptionError
from triton_gym.outcome import Status
from triton_gym.tables.table import ABSENT, MEASURES, STATUSES, Table
from triton_gym.task import Case

FAILURES: Mapping[Status, str] = {
    Status.COMPILE_ERROR: "CompilationFailedConfig",
    Status.RUNTIME_ERROR: "RuntimeFailedConfig",
    Status.TIMEOUT: "RuntimeFailedConfig",
    Status.INCORRECT: "ErrorConfig",
    Status.CHEATING: "ErrorConfig",
    Status.REJECTED: "InvalidConfig",
    Status.INVALID_ACTION: "InvalidConfig",
}
_BACK = {
    "CompilationFailedConfig": Status.COMPILE_ERROR, "RuntimeFailedConfig": Status.RUNTIME_ERROR,
    "ErrorConfig": Status.INCORRECT, "InvalidConfig": Status.REJECTED,
}  # fmt: skip
_VALIDITY = {
    "correct": None, "compile": "CompilationFailedConfig", "runtime": "RuntimeFailedConfig",
    "constraints": "InvalidConfig", "correctness": "ErrorConfig",
}  # fmt: skip
_TO_MS = {"miliseconds": 1.0, "milliseconds": 1.0, "ms": 1.0, "seconds": 1e3, "s": 1e3,
          "microseconds": 1e-3, "us": 1e-3}  # fmt: skip


def cache_file(table: Table, case: int) -> dict[str, Any]:
    """A case's rows as Kernel Tuner's cache file holds them.

    Args:
        table: whose.
        case: index of the case.
    """
    rows = {}
    for place in np.flatnonzero(table.present[case]):
        values = table.named(table.choices[place])
        status = STATUSES[int(table.status[case, place])]
        ok = status is Status.CORRECT
        measured = {name: float(table.measures[name][case, place]) for name in MEASURES}
        time: float | str = measured["runtime_us"] / 1e3 if ok else FAILURES[status]
        rows[",".join(map(str, values.values()))] = {
            **values,
            "time": time,
            "times": [time] if ok else [],
            "compile_time": _ms(measured["compile_s"]),
            "verification_time": _ms(measured["verification_s"]),
            "benchmark_time": _ms(measured["benchmark_s"]),
            "strategy_time": 0.0,
            "framework_time": 0.0,
            "timestamp": str(table.card.get("utc", "1970-01-01 00:00:00")),
        }
    return {
        "device_name": table.gpu,
        "kernel_name": f"{table.task} {table.cases[case]}",
        "problem_size": "-".join(map(str, table.cases[case].sizes.values())),
        "tune_params_keys": list(table.knobs),
        "tune_params": {name: list(values) for name, values in table.knobs.items()},
        "objective": "time",
        "cache": rows,
    }


def restrictions(table: Table, case: int) -> list[str]:
    """Conditions over the knobs that exclude exactly what was not tried on a case.

    A disjunction over what was tried: true for every configuration of the table there.
    """
    if table.complete(case) and len(table.choices) == _size(table):
        return []
    tried = [
        " and ".join(f"{name} == {value}" for name, value in table.named(row).items())
        for row in table.choices[table.present[case]]
    ]
    return [" or ".join(f"({one})" for one in tried)]


def write_cache(table: Table, case: int, path: str | os.PathLike[str]) -> list[str]:
    """Write a case as a cache file; the restrictions that a search over it needs."""
    Path(path).write_text(json.dumps(cache_file(table, case)), encoding="utf-8")
    return restrictions(table, case)


def t4_results(table: Table, case: int) -> dict[str, Any]:
    """A case as T4 results."""
    kinds = {kind: validity for validity, kind in _VALIDITY.items() if kind}
    results = []
    for place in np.flatnonzero(table.present[case]):
        status = STATUSES[int(table.status[case, place])]
        ok = status is Status.CORRECT
        measured = {name: float(table.measures[name][case, place]) for name in MEASURES}
        us = measured["runtime_us"]
        results.append({
            "timestamp": str(table.card.get("utc", "")),
            "configuration": table.named(table.choices[place]),
            "times": {
                "compilation_time": _ms(measured["compile_s"]),
                "validation": _ms(measured["verification_s"]),
                "benchmark": _ms(measured["benchmark_s"]),
                "framework": 0.0, "search_algorithm": 0.0,
                "runtimes": [us / 1e3] if ok else [],
            },
            "invalidity": "correct" if ok else kinds[FAILURES[status]],
            "correctness": 1 if ok else 0,
            "measurements": [{"name": "time", "value": us / 1e3, "unit": "ms"}] if ok else [],
            "objectives": ["time"],
        })  # fmt: skip
    return {"schema_version": "1.0.0", "metadata": dict(table.card), "results": results}


def read_cache(source: Mapping[str, Any] | str | os.PathLike[str]) -> Table:
    """The table of a cache file, of one case without sizes that we know.

    Raises:
        InvalidOptionError: it is no cache file.
    """
    data = _json(source)
    try:
        names, rows = list(data["tune_params_keys"]), list(data["cache"].values())
        found = [({name: row[name] for name in names}, row["time"], row) for row in rows]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidOptionError(
            f"This is not a cache file of Kernel Tuner: {type(error).__name__}: {error}."
        ) from error
    values = [
        (config, None if isinstance(time, str) else float(time), time, row)
        for config, time, row in found
    ]
    return _table(
        str(data.get("kernel_name", "kernel")), str(data.get("device_name", "")), names,
        [
            (config, ms, _BACK.get(str(time), Status.INCORRECT), (
                row.get("compile_time"), row.get("verification_time"), row.get("benchmark_time"),
            ))
            for config, ms, time, row in values
        ],
    )  # fmt: skip


def read_t4(source: Mapping[str, Any] | str | os.PathLike[str], kernel: str = "kernel") -> Table:
    """The table of T4 results.

    Raises:
        InvalidOptionError: they are none.
    """
    data = _json(source)
    rows = []
    try:
        for result in data["results"]:
            times = result.get("times", {})
            ms = next(
                (float(m["value"]) * _TO_MS.get(str(m.get("unit", "ms")).lower(), 1.0)
                 for m in result.get("measurements", [])
                 if m["name"] == "time" and not isinstance(m["value"], str)), None,
            )  # fmt: skip
            kind = _VALIDITY.get(str(result.get("invalidity", "correct")))
            status = _BACK.get(kind or "ErrorConfig", Status.INCORRECT)
            valid = kind is None and ms is not None
            spent = (
                times.get("compilation_time", times.get("compilation")),
                times.get("validation"), times.get("benchmark"),
            )  # fmt: skip
            rows.append((dict(result["configuration"]), ms if valid else None, status, spent))
        names = list(rows[0][0]) if rows else []
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidOptionError(
            f"These are not T4 results: {type(error).__name__}: {error}."
        ) from error
    gpu = str(data.get("metadata", {}).get("gpu", ""))
    return _table(kernel, gpu, names, rows)


def _table(
    kernel: str, gpu: str, names: list[str],
    rows: list[tuple[dict[str, Any], float | None, Status, tuple[Any, ...]]],
) -> Table:  # fmt: skip
    knobs = {name: tuple(sorted({config[name] for config, *_ in rows})) for name in names}
    choices = np.array(
        [[knobs[name].index(config[name]) for name in names] for config, *_ in rows], np.int64
    ).reshape(len(rows), len(names))
    measures = {name: np.full((1, len(rows)), np.nan) for name in MEASURES}
    status = np.full((1, len(rows)), ABSENT, np.int8)
    for place, (_, ms, failed, spent) in enumerate(rows):
        status[0, place] = STATUSES.index(Status.CORRECT if ms is not None else failed)
        if ms is not None:
            for name in ("runtime_us", "runtime_low_us", "runtime_high_us"):
                measures[name][0, place] = ms * 1e3
        for name, value in zip(("compile_s", "verification_s", "benchmark_s"), spent, strict=True):
            measures[name][0, place] = np.nan if value is None else float(value) / 1e3
    unknown = np.full(1, np.nan)
    return Table(
        task=kernel, gpu=gpu, knobs=knobs, choices=choices, cases=(Case("float32", {}),),
        status=status, measures=measures, baseline_us=unknown, floor_us=unknown, flops=unknown,
        moved_bytes=unknown,
    )  # fmt: skip


def _json(source: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        found: Mapping[str, Any] = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOptionError(f"{source} cannot be read: {error}") from error
    return found


def _ms(seconds: float) -> float:
    """Milliseconds; 0 where nothing was measured: the tool wants a number on every row."""
    return 0.0 if np.isnan(seconds) else seconds * 1e3


def _size(table: Table) -> int:
    return int(np.prod([len(values) for values in table.knobs.values()], dtype=np.int64))
