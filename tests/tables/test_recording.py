"""Recording: what is measured, in which order, gone on with, and what the table keeps."""

from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import Future

import numpy as np
import pytest

from triton_gym import InvalidOptionError, InvalidTaskError, Outcome, Status, load
from triton_gym.device import Device, gpu_named
from triton_gym.outcome import TimeSource
from triton_gym.tables import checking, files
from triton_gym.tables.plan import Plan, read_plans
from triton_gym.tables.recording import Recording
from triton_gym.tables.shapes import drawn_shapes
from triton_gym.tables.sweep import Part, measure, parts_of, record_all


class Measured:
    """An evaluator whose times follow from the source, with noise; stops after so many."""

    def __init__(self, stop_after=None, failing=None, drift=1.0):
        self.device, self.workers = Device("simulated", "h200"), 2
        self.asked, self.stop_after, self.failing, self.drift = [], stop_after, failing, drift

    def hardware(self):
        return "simulated:h200"

    def submit(self, task, source, *, fresh, tested):
        assert fresh
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        case = task.bench[0]
        self.asked.append((str(case), source, tested))
        future = Future()
        if case == self.failing:
            future.set_exception(InvalidTaskError("The reference finds no memory."))
            return future
        noise = self.drift * (1 + 0.01 * (len(self.asked) % 3))
        us = (10 + sum(map(ord, source)) % 50) * noise
        future.set_result(
            Outcome(
                status=Status.CORRECT, runtime_us=us, runtime_low_us=us, runtime_high_us=us,
                baseline_us=50.0, phases=(("compile", 0.5), ("test", 0.1), ("profile", 0.2)),
                time_source=TimeSource.SIMULATED,
            )
        )  # fmt: skip
        return future

    def submit_each(self, task, source, *, tested):
        each = [
            self.submit(dataclasses.replace(task, bench=(case,)), source, fresh=True,
                        tested=tested or number > 0)
            for number, case in enumerate(task.bench)
        ]  # fmt: skip
        whole = Future()
        errors = [error for one in each if (error := one.exception())]
        if errors:
            whole.set_exception(errors[0])
        else:
            whole.set_result(tuple(one.result() for one in each))
        return whole


@pytest.fixture
def plan():
    task = dataclasses.replace(
        load("softmax"), knobs={"BLOCK": (1024, 2048, 4096), "ROWS": (1, 2), "NUM_WARPS": (4, 8)}
    )
    shapes = drawn_shapes(task, 4, gpu_named("h200"))
    return Plan(task=task, test=shapes[:1], train=shapes[1:], sample=5)


def recorded(plan, evaluator, folder, earlier=None):
    known = {plan.task.name: earlier} if earlier else {}
    return record_all([plan], evaluator, folder, earlier=known)[plan.task.name]


def test_shapes_are_of_the_tasks_range_and_worth_timing():
    task, gpu = load("matmul"), gpu_named("h200")
    shapes = drawn_shapes(task, 20, gpu, seed=1)
    assert len(set(shapes)) == 20
    assert shapes[0] == task.bench[0]
    assert shapes == drawn_shapes(task, 20, gpu, seed=1)
    assert shapes != drawn_shapes(task, 20, gpu, seed=2)
    for case in shapes[1:]:
        for name, span in task.spans.items():
            assert span.low <= case[name] <= max(span.high, 2 * task.bench[0][name])
            assert case[name] % span.multiple == 0


def test_a_table_holds_all_of_the_test_shapes_and_a_sample_of_the_others(plan, tmp_path):
    table = recorded(plan, Measured(), tmp_path)
    held = dict(zip(map(str, table.cases), table.present.sum(1), strict=True))
    assert held[str(plan.test[0])] == 12
    assert [held[str(case)] for case in plan.train] == [5, 5, 5]
    own = table.places[plan.own()]
    assert table.present[:, own].all()
    assert table.card["test_cases"] == [str(plan.test[0])]
    (run,) = table.card["runs"]
    assert {case: len(times) for case, times in run["sentinels_us"].items()} == {
        str(case): 2 for case in plan.cases
    }
    assert table.card["time_source"] == "simulated"
    again = files.table_of("softmax", tmp_path)
    np.testing.assert_allclose(again.runtime_us, table.runtime_us, 1e-6)
    assert np.nanmax(table.measures["compile_s"]) == 0.5


def test_a_configuration_is_tested_once_and_timed_on_every_shape(plan, tmp_path):
    evaluator = Measured()
    recorded(plan, evaluator, tmp_path)
    first = [source for _, source, tested in evaluator.asked if not tested]
    assert len(first) == len(set(first)) == 12


def test_the_best_are_measured_anew_and_keep_their_median(plan, tmp_path):
    recorded(plan, Measured(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "softmax.jsonl").read_text().splitlines()[1:]]
    again = [line for line in lines if line["turn"] and line["kind"] == "row"]
    table = files.table_of("softmax", tmp_path)
    cases = [str(case) for case in table.cases]
    assert {line["case"] for line in again} == {0, 1, 2, 3}
    for line in again[:4]:
        place = table.places[tuple(line["choice"])]
        times = [
            other["numbers"]["runtime_us"] for other in lines
            if other["kind"] == "row" and (other["case"], other["choice"]) == (
                line["case"], line["choice"])
        ]  # fmt: skip
        at = (cases.index(str(plan.cases[line["case"]])), place)
        assert len(times) == table.measures["repeats"][at] == 3
        assert table.runtime_us[at] == pytest.approx(np.median(times))


def test_a_recording_that_was_stopped_goes_on_and_measures_nothing_twice(plan, tmp_path):
    first = Measured(stop_after=9)
    with pytest.raises(KeyboardInterrupt):
        recorded(plan, first, tmp_path)
    journal = tmp_path / "softmax.jsonl"
    noted = len(journal.read_text().splitlines()) - 1
    with journal.open("a") as file:
        file.write('{"kind": "row", "ca')  # the line that was being written
    second = Measured()
    table = recorded(plan, second, tmp_path)
    whole = Measured()
    other = tmp_path / "other"
    recorded(plan, whole, other)
    assert noted + len(second.asked) == len(whole.asked)
    assert table.rows == files.load(other / "softmax.npz").rows
    third = Measured()
    recorded(plan, third, tmp_path)
    assert third.asked == []


def test_a_recording_goes_on_from_the_complete_shapes_of_an_earlier_table(plan, tmp_path):
    begun = Recording(plan, Measured(), tmp_path / "a")
    measure([Part(begun, "test", [(0,)]), Part(begun, "train", [(1,)])], Measured())
    earlier = begun.write()
    assert earlier.card["complete_cases"] == [str(case) for case in plan.cases[:2]]
    second = Measured()
    table = recorded(plan, second, tmp_path / "b", earlier)
    assert {case for case, _, _ in second.asked} == {str(case) for case in plan.cases[2:]}
    assert sorted(map(str, table.cases)) == sorted(map(str, plan.cases))
    assert table.card["test_cases"] == [str(plan.test[0])]
    assert len(table.card["runs"]) == 2
    for index, case in enumerate(table.cases):
        runs = table.measures["run"][index][table.present[index]]
        assert set(runs) == {0.0 if case in plan.cases[:2] else 1.0}
    place = table.cases.index(plan.cases[0])
    np.testing.assert_array_equal(np.sort(table.runtime_us[place]), np.sort(earlier.runtime_us[0]))
    other = dataclasses.replace(plan, space={"BLOCK": (2048, 4096)})
    with pytest.raises(InvalidOptionError, match="earlier table"):
        Recording(other, Measured(), tmp_path / "c", earlier=earlier)


def test_what_an_earlier_table_holds_of_a_shape_stays_until_there_is_more(plan, tmp_path):
    begun = Recording(plan, Measured(), tmp_path / "a")
    measure([Part(begun, "test", [(0,)]), Part(begun, "train", [(1, 2)], most=4)], Measured())
    earlier = begun.write()
    assert earlier.card["complete_cases"] == [str(plan.test[0])]
    held = {str(c): int(n) for c, n in zip(earlier.cases, earlier.present.sum(1), strict=True)}
    assert held[str(plan.cases[1])] == 4
    again = Recording(plan, Measured(), tmp_path / "b", earlier=earlier)
    assert again.trained == 0
    measure([Part(again, "train", [(1,)], most=2), Part(again, "train", [(2,)])], Measured())
    table = again.write()
    now = {str(c): int(n) for c, n in zip(table.cases, table.present.sum(1), strict=True)}
    assert now == {**held, str(plan.cases[2]): 5}
    of = {str(case): set(runs[there]) for case, runs, there in zip(
        table.cases, table.measures["run"], table.present, strict=True)}  # fmt: skip
    assert of == {str(plan.cases[i]): {float(i == 2)} for i in range(3)}
    assert table.card["complete_cases"] == [str(plan.cases[0]), str(plan.cases[2])]


def test_train_shapes_are_recorded_where_there_are_fewest(plan, tmp_path):
    def planned(name, family, train):
        task = dataclasses.replace(plan.task, name=name)
        shapes = drawn_shapes(plan.task, train, gpu_named("h200"))
        return Plan(task=task, test=(), train=shapes, sample=2, family=family)

    plans = [planned("a", "rows", 24), planned("b", "rows", 24), planned("c", "scans", 32)]
    first = Recording(plans[0], Measured(), tmp_path / "first")
    eight = [block for block in first.blocks(test=False) if block[-1] < 8]
    measure([Part(first, "train", eight)], Measured())
    recordings = [
        Recording(one, Measured(), tmp_path, earlier=first.write() if one is plans[0] else None)
        for one in plans
    ]
    parts = [(part.recording.plan.task.name, len(part.blocks[0])) for part in parts_of(recordings)]
    assert parts == [
        ("c", 8), ("b", 8), ("c", 8),  # rows have 8 by then, scans 0, 16, 8
        ("a", 8), ("c", 8),  # 16 and 16; of rows `a` and `b` have 8 each
        ("b", 8), ("a", 8), ("b", 8), ("c", 8),  # 24 and 24: tasks with fewest
    ]  # fmt: skip


def test_a_shape_that_nothing_can_be_judged_on_is_left_out(plan, tmp_path):
    table = recorded(plan, Measured(failing=plan.train[1]), tmp_path)
    assert set(table.cases) == set(plan.cases) - {plan.train[1]}


def test_a_recording_ends_at_its_time_with_a_table_of_what_is_finished(plan, tmp_path):
    found = record_all([plan], Measured(), tmp_path, until=time.monotonic())
    assert found == {}
    assert record_all([plan], Measured(), tmp_path)["softmax"].rows == 12 + 3 * 5


def test_a_plans_file_says_what_is_recorded(tmp_path):
    path, gpu = tmp_path / "plan.toml", gpu_named("h200")
    path.write_text(
        "[softmax]\ntrain = 2\ntest = 1\nsample = 7\nmost_us = 20\nspace.STAGES = [1]\n"
    )
    (plan,) = read_plans(path, gpu, load)
    assert (len(plan.train), len(plan.test), plan.knobs["STAGES"]) == (2, 1, (1,))
    assert plan.told().startswith("108 of 324 configurations")
    path.write_text("[softmax]\nshapes = 2\n")
    with pytest.raises(InvalidOptionError, match="shapes; known are"):
        read_plans(path, gpu, load)
    path.write_text("[softmax]\nspace.STAGES = [9]\n")
    with pytest.raises(InvalidOptionError, match="STAGES"):
        read_plans(path, gpu, load)


def test_measuring_again_is_corrected_by_the_sentinels(plan, tmp_path):
    table = recorded(plan, Measured(), tmp_path)
    found = checking.check(
        {"softmax": table}, {"softmax": plan.task}, Measured(drift=1.2), 10, seed=1
    )
    assert found["rows"] == 10
    assert found["sentinel_factor"] == pytest.approx(1.2, rel=0.02)
    assert found["differences"]["median"] > 0.15
    assert found["corrected"]["p95"] < 0.05


def test_a_folder_of_another_recording_is_left_alone(plan, tmp_path):
    Recording(plan, Measured(), tmp_path)
    with pytest.raises(InvalidOptionError, match="something else"):
        Recording(dataclasses.replace(plan, sample=6), Measured(), tmp_path)
