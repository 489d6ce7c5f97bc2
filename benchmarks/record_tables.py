"""Records the tables that ship with the package: a process for each GPU, each with its tasks.

On a machine with one GPU, from a checkout, everything new within 560 seconds, then what is left
within another 300, then the check of 100 rows (60 s):

    python benchmarks/record_tables.py --out build/tables --seconds 560 --earlier \
        triton_gym/tables/data --archive "$OUT/tables.tar.gz"
    python benchmarks/record_tables.py --out build/tables --seconds 300 --earlier \
        triton_gym/tables/data --archive "$OUT/tables.tar.gz"
    python benchmarks/record_tables.py --out build/tables --seconds 60 --check 100 \
        --archive "$OUT/check.tar.gz"

OUT (`build/tables` above) gets a journal and a table for each task, rewritten after every part of
it, `summary.json`, and a log for each GPU; `--archive` puts all of it into one file in the end,
whatever ends it, an interrupt or a termination too. A folder that was recorded into is gone on with;
`--resume tables.tar.gz` unpacks an archive into OUT first, if OUT has no journal yet. Shapes that
the tables in `--earlier` hold complete are not measured again; the new tables hold all of these.

A few rows of every new task come first, then the test shapes of all tasks, then train shapes, a
block at a time of the family and the task that have fewest (configs/tables.toml): whenever it is
stopped, what is there is balanced.
`--check` measures random rows of OUT's tables again and writes `check.json`: median and 95th
percentile of the differences, before and after the sentinels' correction, and rank correlations.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path
from typing import Any

import record

from triton_gym import load
from triton_gym.tables import files

PLAN = Path(__file__).with_name("configs") / "tables.toml"
GRACE_S = 15.0
"""How long a recording may go on after its time: it writes its tables."""
WEIGHT = {"products": 1.6, "attention": 1.6}
"""What a row of a family takes beside those of others: compiling, mostly."""
LOG_LINES = 12
"""Last lines of each log that are printed."""


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480.0, help="for all of it")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--earlier", type=Path, help="folder of tables to go on from")
    parser.add_argument("--archive", type=Path, help="a .tar.gz of OUT, written in the end")
    parser.add_argument("--resume", type=Path, help="an archive to go on from")
    parser.add_argument("--device", help="instead of GPUs, e.g. simulated:h200")
    parser.add_argument("--tasks", nargs="*", help="only these of the plan")
    parser.add_argument("--check", type=int, default=0, help="measure so many rows again")
    options = parser.parse_args()
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an interrupt: what is there is kept
    options.out.mkdir(parents=True, exist_ok=True)
    if options.resume and not any(options.out.glob("*.jsonl")):
        unpack(options.resume, options.out)
    before = measurements(options.out)
    shares = [[]] if options.check else shared(options.plan, options.gpus, options.tasks)
    running: list[subprocess.Popen[bytes]] = []
    rc = [1]
    try:
        for number, share in enumerate(shares):
            running.append(start(options, number, share, begun))
        rc = [wait_for(process, begun + options.seconds + GRACE_S) for process in running]
    finally:
        for process in running:
            end(process)
        for log in sorted(options.out.glob("gpu*.log")):
            print(f"== {log.name}", *log.read_text().splitlines()[-LOG_LINES:], sep="\n")
        if not options.check:
            report(options.out, options.plan, before, time.monotonic() - begun)
        if options.archive:
            pack(options.out, options.archive)
    sys.exit(max(rc))


def shared(plan: Path, gpus: int, only: list[str] | None) -> list[list[str]]:
    """The plan's tasks, in its order, for each GPU: each goes to the one that has least to do."""
    shares: list[list[str]] = [[] for _ in range(gpus)]
    burden = [0.0] * gpus
    for name, told in tomllib.loads(plan.read_text()).items():
        if only and name not in only:
            continue
        space = math.prod(
            len(told.get("space", {}).get(knob, values))
            for knob, values in load(name).knobs.items()
        )
        rows = told["test"] * space if "test" in told else 3 * space
        rows += told["train"] * min(told["sample"], space)
        least = min(range(gpus), key=burden.__getitem__)
        shares[least].append(name)
        burden[least] += rows * WEIGHT.get(told["family"], 1.0)
    return [share for share in shares if share]


def start(
    options: argparse.Namespace, number: int, tasks: list[str], begun: float
) -> subprocess.Popen[bytes]:
    """A process that records on a GPU, with its part of the processors."""
    cpus = sorted(os.sched_getaffinity(0))
    each = max(1, len(cpus) // options.gpus)
    own = set(cpus if options.gpus == 1 else cpus[number * each : (number + 1) * each])
    left = options.seconds - (time.monotonic() - begun)
    command = [
        sys.executable, "-m", "triton_gym", "record", *tasks, "--out", str(options.out),
        "--device", options.device or f"cuda:{number}", "--workers", str(len(own)),
        "--seconds", f"{left:.1f}",
    ]  # fmt: skip
    if options.check:
        command += ["--check", str(options.check)]
    else:
        command += ["--plan", str(options.plan)]
        command += ["--earlier", str(options.earlier)] if options.earlier else []
    with (options.out / f"gpu{number}.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, own),
        )  # fmt: skip


def wait_for(process: subprocess.Popen[bytes], until: float) -> int:
    """Its exit code; it is ended when its time is over."""
    try:
        return process.wait(max(until - time.monotonic(), 1.0))
    except subprocess.TimeoutExpired:
        end(process)
        return 0  # its journal holds what it measured; what was written of tables is whole


def end(process: subprocess.Popen[bytes]) -> None:
    """End a recording: it writes its tables and closes its evaluator when it is interrupted."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def pack(out: Path, archive: Path) -> None:
    """All files of a folder as one, written whole or not at all."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(archive.name + ".partial")
    with tarfile.open(partial, "w:gz") as tar:
        for path in sorted(out.iterdir()):
            if path.is_file():
                tar.add(path, path.name)
    partial.replace(archive)
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB")


def unpack(archive: Path, out: Path) -> None:
    """The files of an archive, into a folder."""
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")


def measurements(out: Path) -> int:
    """Lines of all journals but their heads."""
    return sum(
        max(0, sum(1 for _ in path.open(encoding="utf-8")) - 1) for path in out.glob("*.jsonl")
    )


def report(out: Path, plan: Path, before: int, seconds: float) -> None:
    """What there is, printed and as `summary.json`."""
    rows: list[dict[str, Any]] = []
    for path in sorted(out.glob("*.npz")):
        table = files.load(path)
        card = table.card
        rows.append({
            "task": table.task, "family": card["family"], "rows": table.rows,
            "correct": int(table.correct.sum()), "shapes": len(table.cases),
            "test_shapes": len(card["test_cases"]), "complete": len(card["complete_cases"]),
            "sentinel_spread": card["sentinel_spread"], "space": card["space"],
            "bytes": path.stat().st_size,
        })  # fmt: skip
    measured = measurements(out)
    record.write(
        out / "summary.json", rows, seconds=seconds, measurements=measured,
        measurements_this_time=measured - before, plan=plan.name,
        rows_in_all=sum(row["rows"] for row in rows),
    )  # fmt: skip
    for row in rows:
        print(
            f"{row['task']:<24} {row['rows']:>5} rows, {row['correct']:>5} correct, "
            f"{row['shapes']:>3} shapes ({row['test_shapes']} to test), {row['bytes']:>7} bytes"
        )
    print(
        f"{sum(row['rows'] for row in rows)} rows in {len(rows)} tables, "
        f"{sum(row['bytes'] for row in rows) / 1e6:.2f} MB; {measured} measurements, "
        f"{measured - before} of them now, {(measured - before) / seconds:.1f} a second"
    )


if __name__ == "__main__":
    main()
