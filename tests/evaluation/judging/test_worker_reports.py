"""A worker's reports are numbers that can be true, or the answer has cheated: never an exception."""

from __future__ import annotations

import copy
import json
import math

import pytest

from triton_gym.device import gpu_named
from triton_gym.evaluation.judging import worker_reports
from triton_gym.evaluation.simulate.launches import Dot, LaunchTrace, Site, Tensor
from triton_gym.evaluation.simulate.machine_code.build import Build
from triton_gym.evaluation.simulate.machine_code.sass import Code, Region
from triton_gym.evaluation.simulate.time_model import model
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

BUILD = Build(
    index=0, kernel="kernel", config="", grid=(64, 1, 1), num_warps=4, num_stages=3, num_ctas=1,
    registers=32, spill_bytes=0, shared_bytes=0,
    code=Code(regions=(Region(kind="body", parent=-1, start=0, counts={"load": 1, "store": 1},
                              load_bytes=16, store_bytes=16, accesses=(("load", 3, 16),)),),
              load_width=16, store_width=16),
)  # fmt: skip
TRACE = LaunchTrace(
    index=0, kernel="kernel", config="", grid=(64, 1, 1), sampled=4, note="",
    tensors=(Tensor(bytes=4096, distinct=1.0, distance=0.0),),
    sites=(Site(line=3, kind="load", owner=0, bulk=False, itemsize=4, count=1.0, burst=1.0,
                lanes=128, bytes=512.0, sectors=16.0, lines=4.0, sharing=((1, 1.0),)),),
    dots=(Dot(m=16, n=16, k=16, dtype="fp16", precision="TF32", count=1.0),),
    operations={"float": 1.0}, reductions=0.0, reduced=0.0, rounds=1.0, iterations=0.0,
    imbalance=1.0,
)  # fmt: skip
BAD = [None, "x", -2, -1e300, math.nan, math.inf, 10**400, [], {}, [[1]], True, [None] * 3]


def plain(record):
    return json.loads(json.dumps(record.record()))


def paths(value, path=()):
    """Every place in a record."""
    yield path
    children = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else children:
        yield from paths(child, (*path, key))


def spoilt(record):
    """The record with each of its places replaced by what does not belong there."""
    for path in paths(record):
        for bad in BAD:
            changed = {"": copy.deepcopy(record)}
            where, *_ = [changed]
            steps = ("", *path)
            for step in steps[:-1]:
                where = where[step]
            where[steps[-1]] = bad
            yield path, bad, changed[""]


def outcome(builds, traces):
    """Whether the judge accepts the reports; only `Ended` may come out of it."""
    try:
        built = worker_reports.read_builds({"builds": builds})
        followed = worker_reports.read_traces({"traces": traces})
        worker_reports.hold_together(built, followed)
    except Ended as end:
        return end.status is not Status.CHEATING
    try:
        model.estimate(built, followed, gpu_named("h100"))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False  # what the judge catches there
    return True


def test_true_reports_are_accepted():
    assert outcome([plain(BUILD)], [plain(TRACE)])


def test_no_spoilt_report_is_an_exception():
    refused = tried = 0
    for _, _, record in spoilt(plain(BUILD)):
        tried, refused = tried + 1, refused + (not outcome([record], [plain(TRACE)]))
    for _, _, record in spoilt(plain(TRACE)):
        tried, refused = tried + 1, refused + (not outcome([plain(BUILD)], [record]))
    # The rest are other names, empty lists and tables, and True where it is True's place.
    assert refused / tried > 0.9


@pytest.mark.parametrize("reply", [{}, {"builds": None}, {"builds": {}}, {"builds": [1]},
                                   {"builds": [{}] * 5000}])  # fmt: skip
def test_what_is_no_list_of_records_is_forged(reply):
    with pytest.raises(Ended, match="forged"):
        worker_reports.read_builds(reply)


@pytest.mark.parametrize(
    ("build", "trace"),
    [
        ({"kernel": "other"}, {}),
        ({"grid": [8, 1, 1]}, {}),
        ({"index": 1}, {}),
        ({}, {"grid": [1, 1, 1]}),
        ({"config": "a"}, {"index": 7, "config": "a"}),
    ],
)
def test_reports_of_different_launches_are_cheating(build, trace):
    assert not outcome([{**plain(BUILD), **build}], [{**plain(TRACE), **trace}])


def test_a_launch_told_of_twice_is_forged():
    assert not outcome([plain(BUILD)] * 2, [plain(TRACE)])


@pytest.mark.parametrize("bad", [*BAD[:9], [-1], [2.5], [10**17], [0] * 5000])
def test_sizes_are_whole_numbers_of_bytes_and_not_too_many(bad):
    assert worker_reports.read_sizes({"copies": [0, 4096]}, "copies") == [0, 4096]
    if bad == []:
        assert worker_reports.read_sizes({"copies": bad}, "copies") == []
        return
    with pytest.raises(Ended) as end:
        worker_reports.read_sizes({"copies": bad}, "copies")
    assert end.value.status is Status.CHEATING
