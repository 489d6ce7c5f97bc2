"""Outcomes are found again by whoever asks the same, and by nobody else."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import triton_gym
from triton_gym import Evaluator, InvalidOptionError, Limits, Outcome, Status
from triton_gym.errors import StoreError
from triton_gym.evaluation.records import background
from triton_gym.evaluation.records import store as stores
from triton_gym.evaluation.records.background import BackgroundStore
from triton_gym.evaluation.records.store import Store, storable
from triton_gym.outcome import NAN, TimeSource

TASK = triton_gym.load("sum_rows")
DEVICE = "simulated:h100"


def outcome(status=Status.CORRECT, **numbers):
    return Outcome(status=status, message="as found", time_source=TimeSource.SIMULATED, **numbers)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "outcomes.db")
    yield made
    made.close()


def keep(store, source="x", found=None, task=TASK, device=DEVICE):
    key = store.key(task, source, "eager", Limits())
    store.put(key, device, task.name, source, 3, found or outcome(speedup=2.0))
    return key


def test_what_was_found_comes_back_and_says_so(store):
    found = outcome(speedup=1.5, runtime_us=3.0, bound="memory", phases=(("test", 0.2),))
    key = keep(store, found=found)
    again = store.get(key, [DEVICE])
    assert again.time_source is TimeSource.RECORDED
    assert repr(again) == repr(
        found.replace(time_source=TimeSource.RECORDED, evaluation_s=NAN, phases=())
    )


def test_every_part_of_the_key_counts(store, monkeypatch):
    keep(store)
    for task, source, baseline, limits in (
        (TASK, "y", "eager", Limits()),
        (TASK, "x", "compile", Limits()),
        (TASK, "x", "eager", Limits(seconds=5)),
        (dataclasses.replace(TASK, version=1), "x", "eager", Limits()),
    ):
        assert store.get(store.key(task, source, baseline, limits), [DEVICE]) is None
    same = store.key(dataclasses.replace(TASK, title="other", expert=""), "x", "eager", Limits())
    assert store.get(same, ["cuda"]) is None
    assert store.get(same, ["cuda", DEVICE]) is not None
    monkeypatch.setattr(stores, "versions", lambda: "another torch")
    assert store.get(store.key(TASK, "x", "eager", Limits()), [DEVICE]) is None


@pytest.mark.parametrize("status", list(Status))
def test_only_what_the_answer_decides_is_kept(store, status):
    key = keep(store, found=outcome(status))
    kept = status in {"rejected", "compile_error", "incorrect", "cheating", "correct"}
    assert (store.get(key, [DEVICE]) is not None) == kept


def test_a_measured_verdict_of_cheating_may_be_the_loads_doing():
    assert not storable(Outcome(status=Status.CHEATING, time_source=TimeSource.MEASURED))


def test_a_later_outcome_replaces_an_earlier_one(store):
    keep(store)
    key = keep(store, found=outcome(Status.INCORRECT))
    assert store.get(key, [DEVICE]).status == "incorrect"
    assert len(store) == 1


def test_queries_choose_and_order(store):
    other = triton_gym.load("softmax")
    for index, speedup in enumerate((1.0, 3.0, 2.0)):
        keep(store, f"s{index} \ud800", outcome(speedup=speedup))
    keep(store, "wrong", outcome(Status.INCORRECT))
    keep(store, "s", outcome(speedup=9.0), task=other)
    assert [row["speedup"] for row in store.rows(task="sum_rows")] == [3.0, 2.0, 1.0, None]
    (best,) = store.rows(task="sum_rows", min_speedup=2, limit=1)
    assert best["source"] == "s1 \ud800"
    assert [row["task"] for row in store.rows(status="incorrect")] == ["sum_rows"]
    assert len(list(store.rows())) == 5
    with pytest.raises(InvalidOptionError, match="incorrect"):
        list(store.rows(status="incorect"))


def test_what_is_no_store_is_refused(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to look at " * 50)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        Store(text)
    with pytest.raises(StoreError, match="nowhere"):
        Store(tmp_path / "nowhere" / "outcomes.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(StoreError, match="something else"):
        Store(tmp_path / "other.db")
    later = sqlite3.connect(tmp_path / "later.db")
    later.execute("PRAGMA user_version = 9")
    later.close()
    with pytest.raises(StoreError, match="version 9"):
        Store(tmp_path / "later.db")


WRITER = """
import sys
import triton_gym
from triton_gym import Limits, Outcome, Status
from triton_gym.evaluation.records.store import Store
path, name = sys.argv[1:]
store, task = Store(path), triton_gym.load("sum_rows")
for index in range(10**9):
    source = f"{name} {index} " + "x" * 2000
    key = store.key(task, source, "eager", Limits())
    store.put(key, "d", task.name, source, None, Outcome(status=Status.CORRECT, speedup=1.0))
    print(index, flush=True)
"""


def test_writers_do_not_disturb_each_other_and_a_kill_breaks_nothing(tmp_path):
    path = tmp_path / "outcomes.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)], stdout=subprocess.PIPE)
        for n in range(3)
    ]
    try:
        for writer in writers:  # all write by now
            for _ in range(20):
                assert writer.stdout.readline()
        writers[0].send_signal(signal.SIGKILL)
        written = [len(writers[0].stdout.read().splitlines()) + 20]
        time.sleep(0.3)  # the others go on
        for writer in writers[1:]:
            writer.kill()
            written.append(len(writer.stdout.read().splitlines()) + 20)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    store = Store(path)
    sources = {row["source"].split(" x")[0] for row in store.rows()}
    for name, count in enumerate(written):  # what was said to be written is there
        assert {f"{name} {index}" for index in range(count)} <= sources
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_fork_opens_the_file_anew(store):
    key = keep(store)
    child = os.fork()
    if child == 0:
        os._exit(0 if store.get(key, [DEVICE]) is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get(key, [DEVICE]) is not None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", b"\xff\xfe", '{"status": "correct"}', "recursion",
     "message", "status", "number", "phases", "huge", "no text"],
)  # fmt: skip
def test_a_damaged_record_counts_as_not_there_and_is_told_once(store, text):
    import json

    from triton_gym.outcome import to_json

    whole = to_json(outcome(speedup=2.0))
    changed = {
        "message": {"message": 7}, "status": {"status": "timeout"}, "number": {"speedup": "fast"},
        "phases": {"phases": [1]}, "huge": {"registers": 10**400},
    }  # fmt: skip
    text = json.dumps({**whole, **changed[text]}) if text in changed else text
    text = "[" * 100_000 if text == "recursion" else text
    keys = [keep(store, source) for source in ("x", "y", "z")]
    edit = sqlite3.connect(store.path)
    edit.execute("UPDATE outcomes SET outcome = ? WHERE key != ?", (text, keys[2].digest))
    if text == "no text":  # SQLite holds whatever bytes it is told are one
        edit.execute(
            "UPDATE outcomes SET outcome = CAST(X'7b22ff' AS TEXT) WHERE key != ?",
            (keys[2].digest,),
        )
    edit.commit()
    edit.close()
    with pytest.warns(RuntimeWarning, match="damaged") as told:
        found = [store.get(key, [DEVICE]) is None for key in keys], len(list(store.rows()))
    assert found == ([True, True, False], 1)
    assert len(told) == 1
    keep(store, "x")
    assert store.get(keys[0], [DEVICE]) is not None, "it is written over"


def test_a_store_that_others_hold_keeps_nobody_waiting(tmp_path):
    recorder = BackgroundStore(tmp_path / "outcomes.db")
    key = recorder.key(TASK, "x", "eager", Limits())
    other = sqlite3.connect(tmp_path / "outcomes.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    recorder.put(key, DEVICE, TASK.name, "x", 1, outcome(speedup=2.0))
    assert recorder.get(key, [DEVICE]).time_source is TimeSource.RECORDED
    assert recorder.get(recorder.key(TASK, "y", "eager", Limits()), [DEVICE]) is None
    assert time.monotonic() - started < 1.0
    other.execute("ROLLBACK")
    recorder.close()
    assert len(Store(tmp_path / "outcomes.db")) == 1


def test_a_store_that_others_hold_whole_is_waited_for_once(tmp_path, monkeypatch):
    """A writer in exclusive locking mode turns readers away too: SQLite would wait each time."""
    monkeypatch.setattr(background, "READ_S", 0.01)
    recorder = BackgroundStore(tmp_path / "outcomes.db")
    keys = [recorder.key(TASK, f"{n}", "eager", Limits()) for n in range(20)]
    for key in keys:
        recorder.put(key, DEVICE, TASK.name, "x", 1, outcome())
    recorder.close()
    other = sqlite3.connect(tmp_path / "outcomes.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE outcomes SET task = 'other'")
    asked = []
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda *given: asked.append(1) or get(*given))
    with pytest.warns(RuntimeWarning, match="may be known"):
        assert [recorder.get(key, [DEVICE]) for key in keys] == [None] * 20
    assert len(asked) == 1
    other.execute("ROLLBACK")
    other.close()
    monkeypatch.setattr(recorder, "_readable_at", time.monotonic())
    assert recorder.get(keys[0], [DEVICE]) is not None
    recorder.close()


@pytest.mark.parametrize("error", [StoreError("disk full"), ZeroDivisionError("unforeseen")])
def test_whatever_writing_does_is_told_once_and_ends_nothing(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    recorder = BackgroundStore(tmp_path / "outcomes.db")
    key = recorder.key(TASK, "x", "eager", Limits())

    def use():
        for _ in range(3):
            recorder.put(key, DEVICE, TASK.name, "x", 1, outcome())
        recorder.close()
        return recorder.get(key, [DEVICE])

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", fail)
        patch.setattr(Store, "get", lambda *_: fail() if isinstance(error, StoreError) else None)
        with pytest.warns(RuntimeWarning, match=r"not recorded|may be known") as told:
            assert use() is None
        assert len(told) == 1 + isinstance(error, StoreError)
    recorder.put(key, DEVICE, TASK.name, "x", 1, outcome())
    recorder.close()
    assert len(recorder.store) == 1


# -- where it is used -------------------------------------------------------------------------------


def test_a_seen_answer_is_not_evaluated_again(tmp_path):
    path = tmp_path / "outcomes.db"
    with Evaluator("simulated", workers=1, store=path) as evaluator:
        first = evaluator.evaluate(TASK, TASK.starter, seed=1)
        again = evaluator.evaluate(TASK, TASK.starter, seed=2)
        assert first.time_source == "simulated"
        assert again.time_source == "recorded"
        assert again.speedup == first.speedup
        assert evaluator.evaluate(TASK, TASK.starter, fresh=True).time_source == "simulated"
        progress = evaluator.progress()
        assert (progress.submitted, progress.done, progress.recorded) == (3, 3, 1)


def test_environments_take_a_store_and_answer_from_it_in_no_time(tmp_path):
    import gymnasium as gym

    path = tmp_path / "outcomes.db"
    store = Store(path)
    keep(store, TASK.expert)
    store.close()
    for kind, action in (("TritonKernel", TASK.expert), ("TritonTune", None)):
        env = gym.make(f"{kind}-sum_rows-v0", device="simulated", store=path)
        env.reset(seed=0)
        if action is not None:
            assert env.step(action)[4]["source"] == "recorded"
            started = time.perf_counter()
            env.step(action)
            assert time.perf_counter() - started < 0.05  # milliseconds; other tests run as well
            # No judge was started for it.
            assert env.unwrapped.evaluator.progress().judges[0].state == "idle"
    with pytest.raises(InvalidOptionError, match="its own store"):
        gym.make("TritonKernel-sum_rows-v0", evaluator=env.unwrapped.evaluator, store=path)


# -- out of it --------------------------------------------------------------------------------------


def test_exports_hold_every_row_and_replace_what_was_there(store, tmp_path):
    import csv
    import json

    from triton_gym.evaluation.records.export import export

    keep(store, "def f():\n    'quoted, \"twice\"' \ud800", outcome(speedup=1.25))
    keep(store, "wrong", outcome(Status.INCORRECT))
    for name in ("out.csv", "out.jsonl"):
        (tmp_path / name).write_text("old")
        assert export(store.rows(), tmp_path / name) == 2
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["speedup"] for row in rows] == ["1.25", ""]
    assert "quoted" in rows[0]["source"]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == list(store.rows())
    with pytest.raises(InvalidOptionError, match="parquet"):
        export(store.rows(), tmp_path / "out.xlsx")
    assert sorted(p.name for p in tmp_path.glob("out*")) == [
        "out.csv", "out.jsonl", "outcomes.db", "outcomes.db-shm", "outcomes.db-wal",
    ]  # fmt: skip


def test_parquet_needs_its_extra_and_says_so(store, tmp_path, monkeypatch):
    from triton_gym.evaluation.records.export import export

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidOptionError, match=r"triton-gym\[parquet\]"):
        export(store.rows(), tmp_path / "out.parquet")


def test_parquet_is_read_back(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from triton_gym.evaluation.records.export import export

    keep(store, "x", outcome(speedup=1.25))
    assert export(store.rows(), tmp_path / "out.parquet") == 1
    (row,) = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["speedup"], row["source"], row["roofline"]) == (1.25, "x", None)


def test_the_command_line_shows_and_exports(store, tmp_path):
    from typer.testing import CliRunner

    from triton_gym.cli import app

    keep(store, found=outcome(speedup=1.25))
    run = CliRunner().invoke
    shown = run(app, ["store", "show", str(store.path), "--task", "sum_rows"])
    assert shown.exit_code == 0, shown.output
    assert "1.25" in shown.output
    done = run(app, ["store", "export", str(store.path), str(tmp_path / "all.jsonl")])
    assert done.exit_code == 0, done.output
    assert "1 outcomes" in done.output
    missing = run(app, ["store", "show", str(tmp_path / "none.db")])
    assert isinstance(missing.exception, StoreError)
    assert not (tmp_path / "none.db").exists()
