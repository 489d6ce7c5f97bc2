"""Recording: what is measured, in which order, gone on with, and what the table keeps."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from triton_gym import InvalidOptionError, Outcome, Status, load
from triton_gym.device import Device, gpu_named
from triton_gym.outcome import TimeSource
from triton_gym.tables import files
from triton_gym.tables.recording import Plan, Recording, drawn_shapes, own_choice


class Measured:
    """An evaluator whose times follow from the source, with noise; stops after so many."""

    def __init__(self, stop_after=None):
        self.device, self.asked, self.stop_after = Device("simulated", "h200"), 0, stop_after

    def hardware(self):
        return "simulated:h200"

    def map(self, tasks, sources, fresh):
        assert fresh
        for _, source in zip(tasks, sources, strict=True):
            if self.stop_after is not None and self.asked >= self.stop_after:
                raise KeyboardInterrupt
            self.asked += 1
            noise = 1 + 0.01 * (self.asked % 3)
            us = (10 + sum(map(ord, source)) % 50) * noise
            yield Outcome(
                status=Status.CORRECT, runtime_us=us, runtime_low_us=us, runtime_high_us=us,
                baseline_us=50.0, phases=(("compile", 0.5), ("test", 0.1), ("profile", 0.2)),
                time_source=TimeSource.SIMULATED,
            )  # fmt: skip


@pytest.fixture
def plan():
    task = dataclasses.replace(
        load("softmax"), knobs={"BLOCK": (1024, 2048, 4096), "ROWS": (1, 2), "NUM_WARPS": (4, 8)}
    )
    shapes = drawn_shapes(task, 4, gpu_named("h200"))
    return Plan(task=task, test=shapes[:1], train=shapes[1:], sample=5)


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
    table = Recording(plan, Measured(), tmp_path).run()
    held = dict(zip(map(str, table.cases), table.present.sum(1), strict=True))
    assert held[str(plan.test[0])] == 12
    assert [held[str(case)] for case in plan.train] == [5, 5, 5]
    own = table.places[own_choice(plan.task)]
    assert table.present[:, own].all()
    assert table.card["test_cases"] == [str(plan.test[0])]
    assert len(table.card["sentinel_us"]) >= 1
    assert table.card["time_source"] == "simulated"
    again = files.table_of("softmax", tmp_path)
    np.testing.assert_allclose(again.runtime_us, table.runtime_us, 1e-6)
    assert np.nanmax(table.measures["compile_s"]) == 0.5


def test_the_best_are_measured_anew_and_keep_their_median(plan, tmp_path):
    Recording(plan, Measured(), tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "softmax.jsonl").read_text().splitlines()[1:]]
    again = [line for line in lines if line["turn"] and line["kind"] == "row"]
    table = files.table_of("softmax", tmp_path)
    assert {line["case"] for line in again} == {0, 1, 2, 3}
    for line in again[:4]:
        place = table.places[tuple(line["choice"])]
        times = [
            other["outcome"]["runtime_us"] for other in lines
            if other["kind"] == "row" and (other["case"], other["choice"]) == (
                line["case"], line["choice"])
        ]  # fmt: skip
        assert table.runtime_us[line["case"], place] == pytest.approx(np.median(times))


def test_a_recording_that_was_stopped_goes_on_and_measures_nothing_twice(plan, tmp_path):
    first = Measured(stop_after=9)
    with pytest.raises(KeyboardInterrupt):
        Recording(plan, first, tmp_path).run()
    journal = tmp_path / "softmax.jsonl"
    with journal.open("a") as file:
        file.write('{"kind": "row", "ca')  # the line that was being written
    second = Measured()
    table = Recording(plan, second, tmp_path).run()
    whole = Measured()
    other = tmp_path / "other"
    Recording(plan, whole, other).run()
    assert first.asked + second.asked == whole.asked
    assert table.rows == files.load(other / "softmax.npz").rows
    third = Measured()
    Recording(plan, third, tmp_path).run()
    assert third.asked == 0


def test_a_folder_of_another_recording_is_left_alone(plan, tmp_path):
    Recording(plan, Measured(), tmp_path)
    with pytest.raises(InvalidOptionError, match="something else"):
        Recording(dataclasses.replace(plan, sample=6), Measured(), tmp_path)
