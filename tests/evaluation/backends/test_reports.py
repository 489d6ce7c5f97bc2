"""An interpreter's reports are numbers that can be true, or the answer has cheated: never an exception."""

from __future__ import annotations

import copy
import json
import math

import pytest

from triton_gym.evaluation.backends.simulated import reports
from triton_gym.evaluation.simulate.launches import Dot, LaunchTrace, Site, Tensor
from triton_gym.evaluation.workers.session import Ended
from triton_gym.outcome import Status

TRACE = LaunchTrace(
    index=0, kernel="kernel", config="", grid=(64, 1, 1), sampled=4, note="",
    tensors=(Tensor(bytes=4096, distinct=1.0, distance=0.0),),
    sites=(Site(line=3, kind="load", owner=0, bulk=False, itemsize=4, count=1.0, burst=1.0,
                lanes=128, bytes=512.0, sectors=16.0, lines=4.0, sharing=((1, 1.0),)),),
    dots=(Dot(line=4, m=16, n=16, k=16, dtype="fp16", precision="TF32", count=1.0),),
    passes=((3, 1.0), (4, 1.0)), rounds=1.0, gathered=0.0, contended=0.0, imbalance=1.0,
    heaviest=1.0,
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


def accepted(record):
    """Whether the judge accepts a report; only `Ended` may come out of it."""
    try:
        reports.read_traces({"traces": [record]})
    except Ended as end:
        return end.status is not Status.CHEATING
    return True


def test_true_reports_are_accepted():
    assert accepted(plain(TRACE))


def test_no_spoilt_report_is_an_exception():
    found = [accepted(record) for _, _, record in spoilt(plain(TRACE))]
    assert len(found) > 300
    assert sum(found) < len(found) / 3  # a number in the place of another one may be true


@pytest.mark.parametrize("reply", [{}, {"traces": 3}, {"traces": [3]}, {"traces": [None] * 5000}])
def test_what_is_no_list_of_records_is_forged(reply):
    with pytest.raises(Ended, match="forged"):
        reports.read_traces(reply)
