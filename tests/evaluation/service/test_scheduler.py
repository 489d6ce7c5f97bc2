"""The queue in front of the judges: with judges that are scripted, and no processes."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
import warnings

import pytest

from triton_gym.errors import EvaluatorError, QueueFullError
from triton_gym.evaluation.service.future import Evaluation
from triton_gym.evaluation.service.scheduler import Scheduler
from triton_gym.evaluation.service.slot import Slot
from triton_gym.evaluation.service.transport import Work
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.outcome import Outcome, Status

OUTCOME = Outcome(status=Status.CORRECT)


class Scripted:
    """A transport whose judge does what the test says, when the test says it."""

    made: list[Scripted]

    def __init__(self, made):
        self.has, self.dropped, self.over = [], [], False
        made.append(self)

    def start(self, listener):
        self.listener = listener

    def up(self):
        self.listener.ready(self, "scripted")
        return self

    def send(self, number, work):
        self.has.append(number)

    def drop(self, number):
        self.dropped.append(number)

    def answer(self, number=None, result=OUTCOME):
        number = self.has[0] if number is None else number
        self.has.remove(number)
        self.listener.answered(self, number, result)

    def die(self):
        self.listener.lost(self, "killed")

    def hang_up(self):
        self.over = True

    def join(self):
        self.over = True


class Desk:
    """A scheduler over scripted judges."""

    def __init__(self, judges=1, capacity=2, bound=100):
        self.made = []
        slots = [Slot(f"scripted:{i}", capacity, self._make) for i in range(judges)]
        self.scheduler = Scheduler(slots, bound)

    def _make(self):
        return Scripted(self.made)

    def submit(self, priority=0, wait=True, record=None, task=b""):
        future = Evaluation(
            self.scheduler.number(), "task", "source", priority, self.scheduler.withdraw
        )
        self.scheduler.add(future, Work(task, "source", 0, "eager", Limits()), record, wait)
        return future


def test_a_judge_holds_no_more_than_its_capacity_and_priority_decides_what_is_next():
    desk = Desk(capacity=2)
    low = [desk.submit() for _ in range(4)]
    high = desk.submit(priority=5)
    judge = desk.made[0].up()
    assert judge.has == [high.id, low[0].id]
    judge.answer(high.id)
    assert high.result(0) is OUTCOME
    assert judge.has == [low[0].id, low[1].id]
    assert [f.running() for f in low] == [True, True, False, False]


def test_judges_are_started_as_work_needs_them_and_load_decides():
    desk = Desk(judges=3, capacity=2)
    desk.submit()
    assert len(desk.made) == 1
    for _ in range(4):
        desk.submit()
    assert len(desk.made) == 3
    for judge in desk.made:
        judge.up()
    assert sorted(len(judge.has) for judge in desk.made) == [1, 2, 2]


def test_evaluations_of_one_task_go_to_one_judge():
    desk = Desk(judges=2, capacity=3)
    for _ in range(4):
        desk.submit()
    for judge in desk.made:
        judge.up()
    for judge in desk.made:
        while judge.has:
            judge.answer()
    later = {name: [desk.submit(task=name) for _ in range(2)] for name in (b"c", b"d")}
    homes = {
        n: {j for j in desk.made if {f.id for f in fs} & set(j.has)} for n, fs in later.items()
    }
    assert all(len(judges) == 1 for judges in homes.values())
    assert homes[b"c"] != homes[b"d"], "a new task goes where there is less to do"


def test_a_free_judge_takes_what_it_knows_before_what_others_know_but_passes_nothing_by_for_long():
    desk = Desk(judges=2, capacity=1, bound=200)
    a, b = desk.submit(task=b"a"), desk.submit(task=b"b")
    one, two = (judge.up() for judge in desk.made)
    assert (one.has, two.has) == ([a.id], [b.id])
    waiting = [desk.submit(task=b"b"), desk.submit(task=b"a")]
    urgent = desk.submit(task=b"b", priority=1)
    one.answer()
    assert one.has == [urgent.id], "priorities come first"
    one.answer()
    assert one.has == [waiting[0].id], "it knows both tasks now"

    desk = Desk(judges=2, capacity=1, bound=200)
    desk.submit(task=b"a"), desk.submit(task=b"b")
    one, two = (judge.up() for judge in desk.made)
    foreign = desk.submit(task=b"b")
    own = [desk.submit(task=b"a") for _ in range(20)]
    order = []
    while foreign.id not in order:
        one.answer()
        order += one.has
    assert order[0] == own[0].id
    assert len(order) <= 10
    two.answer()
    assert own[len(order) - 1].id in two.has, "a judge without work takes what there is"


def test_a_judge_that_was_started_again_knows_no_task():
    desk = Desk(judges=2, capacity=2)
    desk.submit(task=b"a"), desk.submit(task=b"b"), desk.submit(task=b"b")
    one, two = (judge.up() for judge in desk.made)
    one.die()
    assert not desk.scheduler._slots[0].knows(next(iter(desk.scheduler._entries.values())))
    assert two.has


def test_nothing_is_sent_to_a_judge_that_is_not_up():
    desk = Desk(judges=2)
    futures = [desk.submit() for _ in range(4)]
    first, second = desk.made
    second.up()
    assert first.has == []
    for _ in futures:
        second.answer()
    assert all(f.done() for f in futures)


def test_submit_waits_for_room_or_says_that_there_is_none():
    desk = Desk(bound=2)
    first = desk.submit()
    desk.submit()
    with pytest.raises(QueueFullError, match="2 evaluations"):
        desk.submit(wait=False)
    started = time.monotonic()
    with pytest.raises(QueueFullError):
        desk.submit(wait=0.05)
    assert time.monotonic() - started >= 0.05
    late = []
    thread = threading.Thread(target=lambda: late.append(desk.submit()))
    thread.start()
    time.sleep(0.05)
    assert not late
    desk.made[0].up().answer(first.id)
    thread.join(5)
    assert len(late) == 1


def test_a_callback_may_submit_although_there_is_no_room():
    desk = Desk(bound=1, capacity=1)
    first = desk.submit()
    after = []
    judge = desk.made[0].up()
    blocked = threading.Thread(target=lambda: after.append(desk.submit()))
    first.add_done_callback(
        lambda _: (blocked.start(), blocked.join(0.2), after.append(desk.submit()))
    )
    judge.answer()
    assert len(after) == 2


def test_cancelling_takes_a_waiting_evaluation_out_and_makes_room():
    desk = Desk(capacity=1, bound=2)
    running, waiting = desk.submit(), desk.submit()
    judge = desk.made[0].up()
    assert waiting.cancel()
    assert waiting.cancel()
    assert waiting.cancelled()
    assert concurrent.futures.wait([waiting], 5).done == {waiting}
    third = desk.submit(wait=False)
    judge.answer(running.id)
    assert judge.has == [third.id]
    assert desk.scheduler.progress().cancelled == 1


def test_what_comes_of_a_cancelled_evaluation_is_thrown_away():
    desk = Desk(capacity=1)
    running, waiting = desk.submit(), desk.submit()
    judge = desk.made[0].up()
    assert running.cancel()
    assert judge.dropped == [running.id]
    assert judge.has == [running.id]  # it keeps its place until the judge says so
    judge.answer(running.id)
    assert running.cancelled()
    assert judge.has == [waiting.id]
    assert not waiting.done()
    judge.answer()
    assert not waiting.cancel()


def test_what_a_dead_judge_had_is_done_elsewhere_once():
    desk = Desk(judges=2, capacity=2)
    futures = [desk.submit() for _ in range(4)]
    first, second = (judge.up() for judge in desk.made)
    had = list(first.has)
    first.die()
    second.answer()
    second.answer()
    assert sorted(second.has) == sorted(had)
    first.listener.answered(first, had[0], OUTCOME)  # the dead do not answer
    assert not futures[had[0]].done()
    second.answer()
    second.answer()
    assert all(f.result(0) is OUTCOME for f in futures)
    progress = desk.scheduler.progress()
    assert (progress.done, progress.redone, progress.failed) == (4, 2, 0)


def test_an_evaluation_that_kills_its_judge_is_found_and_fails_alone():
    desk = Desk(capacity=3)
    futures = [desk.submit() for _ in range(3)]
    poison = futures[1].id
    for _ in range(2):
        desk.made[-1].up().die()
    judge = desk.made[-1].up()
    while not futures[1].done():
        assert len(judge.has) == 1  # suspects run alone
        if judge.has == [poison]:
            judge.die()
            judge = desk.made[-1]
            if not judge.has and not futures[2].done():
                judge.up()
        else:
            judge.answer()
    with pytest.raises(EvaluatorError, match="died 3 times"):
        futures[1].result(0)
    while judge.has:
        judge.answer()
    assert futures[0].result(0) is OUTCOME
    assert futures[2].result(0) is OUTCOME
    assert desk.submit().id == 3  # the judge was not to blame


def test_a_judge_that_keeps_failing_is_drained_with_a_warning():
    desk = Desk(judges=2, capacity=1)
    futures = [desk.submit() for _ in range(4)]
    desk.made[1].up()
    good = desk.made[1]
    desk.made[0].die()
    desk.made[-1].die()
    with pytest.warns(RuntimeWarning, match=r"scripted:0 is given up after 3.*done by scripted:1"):
        desk.made[-1].die()
    while good.has:
        good.answer()
    assert all(f.result(0) is OUTCOME for f in futures)
    assert [j.state for j in desk.scheduler.progress().judges] == ["drained", "ready"]


def test_without_a_judge_everything_fails_at_once():
    desk = Desk()
    future = desk.submit()
    for _ in range(2):
        desk.made[-1].die()
    with pytest.warns(RuntimeWarning, match="There is no other"):
        desk.made[-1].die()
    with pytest.raises(EvaluatorError, match=r"No judge is left.*killed"):
        future.result(0)
    with pytest.raises(EvaluatorError, match="No judge is left"):
        desk.submit()


def test_an_answer_between_deaths_forgives_them():
    desk = Desk(capacity=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            desk.submit()
            desk.made[-1].up().die()
            desk.made[-1].up().answer()
    assert desk.scheduler.progress().judges[0].deaths == 4


def test_an_evaluation_put_back_is_tried_again():
    desk = Desk(capacity=1)
    future = desk.submit()
    judge = desk.made[0].up()
    for _ in range(2):
        number = judge.has.pop()
        judge.listener.again(judge, number, "out of memory")
    judge.answer()
    assert future.result(0) is OUTCOME
    other = desk.submit()
    for _ in range(3):
        judge.listener.again(judge, judge.has.pop(), "out of memory")
    with pytest.raises(EvaluatorError, match="out of memory"):
        other.result(0)


def test_a_fresh_outcome_is_recorded_before_the_future_is_told():
    desk = Desk()
    kept = []
    future = desk.submit(record=lambda outcome, hardware: kept.append((outcome, hardware)))
    future.add_done_callback(lambda _: kept.append("told"))
    desk.made[0].up().answer()
    assert kept == [(OUTCOME, "scripted"), "told"]


def test_closing_ends_every_judge_and_fails_what_is_left():
    desk = Desk(judges=2, capacity=1)
    futures = [desk.submit() for _ in range(3)]
    told = []

    def wait():
        try:
            desk.scheduler.hardware()
        except EvaluatorError as error:
            told.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    desk.scheduler.close()
    waiting.join(5)
    assert "closed" in told[0]
    assert all(judge.over for judge in desk.made)
    for future in futures:
        with pytest.raises(EvaluatorError, match="closed"):
            future.result(0)
    with pytest.raises(EvaluatorError, match="closed"):
        desk.submit()
    desk.scheduler.close()


def test_a_judge_that_joins_later_finds_work():
    desk = Desk(capacity=1)
    futures = [desk.submit() for _ in range(3)]
    desk.made[0].up()
    desk.scheduler.join_in(Slot("late", 1, desk._make))
    late = desk.made[1].up()
    assert late.has == [futures[1].id]


def test_many_threads_lose_and_double_nothing():
    """Judges answer, die and start at random while threads submit and cancel."""
    import random

    desk = Desk(judges=3, capacity=3, bound=20)
    stop = threading.Event()
    futures, told = [], []

    def judges(seed):
        rng = random.Random(seed)
        while not stop.is_set():
            for judge in [slot.transport for slot in desk.scheduler._slots if slot.transport]:
                try:
                    roll = rng.random()
                    if roll < 0.02 and judge.has:
                        judge.die()
                    elif roll < 0.3:
                        judge.up()
                    elif judge.has:
                        judge.answer()
                except (ValueError, IndexError):
                    pass  # another thread was faster

    def submit(seed):
        rng = random.Random(seed)
        for _ in range(200):
            future = desk.submit(priority=rng.randrange(3))
            future.add_done_callback(lambda f: told.append(f.id))
            futures.append(future)
            if rng.random() < 0.2:
                future.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keepers = [threading.Thread(target=judges, args=(i,)) for i in range(2)]
        users = [threading.Thread(target=submit, args=(i,)) for i in range(3)]
        for thread in keepers + users:
            thread.start()
        for thread in users:
            thread.join(60)
        done, waiting = concurrent.futures.wait(futures, 30)
        stop.set()
        for thread in keepers:
            thread.join(10)
    assert not waiting
    assert len(done) == 600
    assert sorted(told) == sorted(f.id for f in futures)
    progress = desk.scheduler.progress()
    assert progress.waiting == progress.running == 0
    assert progress.done + progress.cancelled + progress.failed == progress.submitted == 600


@pytest.mark.parametrize("error", [RuntimeWarning("disk full"), SystemExit(3), MemoryError()])
def test_a_future_is_told_whatever_recording_does(error):
    def record(outcome, hardware):
        raise error

    desk = Desk()
    future, after = desk.submit(record=record), desk.submit()
    judge = desk.made[0].up()
    with pytest.warns(RuntimeWarning, match="not recorded"):
        judge.answer(future.id)
    assert future.result(0) is OUTCOME
    judge.answer(after.id)
    assert after.result(0) is OUTCOME


def test_a_future_is_told_where_its_request_cannot_be_sent(monkeypatch):
    """Whatever a transport raises, it is the judge that is given up, and not the one who asks."""
    desk = Desk()
    future = desk.submit()
    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "send", lambda *_: 1 / 0)
        deadline = time.monotonic() + 20
        while not future.done() and time.monotonic() < deadline:
            if not hasattr(desk.made[-1], "tried"):
                desk.made[-1].tried = True
                desk.made[-1].up()
            time.sleep(0.01)
    with pytest.raises(EvaluatorError, match="could not be sent"):
        future.result(0)
    after = desk.submit()
    desk.made[-1].up().answer(after.id)
    assert after.result(10) is OUTCOME


def test_a_future_is_told_where_warnings_cannot_be_shown(monkeypatch):
    """As with a standard error that the program closed."""

    def fail(*_, **__):
        raise ValueError("I/O operation on closed file")

    desk = Desk()
    future = desk.submit(record=fail)
    monkeypatch.setattr(warnings, "showwarning", fail)
    monkeypatch.setattr(logging.getLogger("triton_gym"), "warning", fail)
    desk.made[0].up().answer(future.id)
    assert future.result(0) is OUTCOME


def test_a_callback_that_ends_the_program_ends_no_thread_of_ours():
    def leave(future):
        raise SystemExit

    desk = Desk()
    future, after = desk.submit(), desk.submit()
    future.add_done_callback(leave)
    judge = desk.made[0].up()
    with pytest.warns(RuntimeWarning, match="callback"):
        judge.answer(future.id)
    judge.answer(after.id)
    assert after.result(0) is OUTCOME


def test_a_warning_that_is_an_error_ends_no_thread_of_ours():
    desk = Desk()
    future = desk.submit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            desk.made[-1].up()
            desk.made[-1].die()
    with pytest.raises(EvaluatorError):
        future.result(0)
