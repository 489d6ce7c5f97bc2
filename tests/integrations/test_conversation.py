"""One episode as text, and many replies at once."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from triton_gym import Evaluator, EvaluatorError, InvalidOptionError
from triton_gym.errors import QueueFullError
from triton_gym.integrations.conversation import Conversation
from triton_gym.integrations.nemo_gym import KernelResource, text_of
from triton_gym.integrations.replies import evaluate_replies


def test_an_episode_says_the_task_and_then_what_happened(evaluator, answers):
    episode = Conversation("TritonKernel-softmax-v0", evaluator=evaluator, max_turns=2)
    system, user = episode.open(seed=0)
    assert system["role"] == "system"
    assert "def softmax" in user["content"] or "softmax(" in user["content"]
    wrong = episode.reply(answers["zeros"])
    assert wrong.info["status"] == "incorrect"
    assert "Wrong result" in wrong.message
    assert not wrong.done
    right = episode.reply(answers["expert"])
    assert right.reward > 0
    assert right.done


@pytest.mark.parametrize("kind", ["empty", "prose", "huge"])
def test_a_reply_without_a_kernel_is_an_outcome(evaluator, answers, kind):
    episode = Conversation("softmax", evaluator=evaluator)
    episode.open(seed=0)
    turn = episode.reply(answers[kind])
    assert turn.info["status"] in {"invalid_action", "rejected", "compile_error"}
    assert turn.reward == 0


def test_a_family_draws_its_task(evaluator):
    episode = Conversation("composed", evaluator=evaluator)
    episode.open(seed=1)
    first = episode.task.name
    episode.open(seed=2)
    assert episode.task.name != first


def test_a_session_goes_on_when_its_judge_is_killed(dying, answers):
    episode = Conversation("softmax", evaluator=dying)
    episode.open(seed=0)
    assert episode.reply(answers["expert"]).info["status"] == "correct"
    assert episode.reply(answers["zeros"]).info["status"] == "incorrect"


def test_a_judge_that_cannot_be_had_is_a_clear_error(answers):
    with Evaluator("simulated") as own:
        episode = Conversation("softmax", evaluator=own)
        episode.open(seed=0)
    for reply in (episode.reply, lambda text: asyncio.run(episode.areply(text))):
        with pytest.raises(EvaluatorError, match="closed; make another"):
            reply(answers["expert"])


class Slow:
    """An evaluator that takes its time; `most` counts how many evaluate at once."""

    def __init__(self, stub, seconds=0.2, room=99):
        self._stub, self._seconds, self._room = stub, seconds, room
        self.device, self.deterministic, self.describe = stub.device, False, stub.describe
        self.running, self.most, self.futures = 0, 0, []
        self._threads = ThreadPoolExecutor(8)

    def submit(self, task, source, *, wait=True, **options):
        if self.running >= self._room:
            if not wait:
                raise QueueFullError("no room")
            time.sleep(self._seconds)
        self.running += 1
        self.most = max(self.most, self.running)
        self.futures.append(self._threads.submit(self._evaluated, task, source, options))
        return self.futures[-1]

    def _evaluated(self, task, source, options):
        time.sleep(self._seconds)
        self.running -= 1
        return self._stub.evaluate(task, source, **options)

    def evaluate(self, *args, **options):
        return self.submit(*args, **options).result()


def test_a_session_that_says_two_things_at_once_has_them_one_after_the_other(stub, answers):
    slow = Slow(stub)
    one, two = (Conversation("softmax", evaluator=slow, max_turns=2) for _ in range(2))
    one.open(seed=0)
    two.open(seed=0)
    with ThreadPoolExecutor(3) as threads:
        turns = list(threads.map(lambda of: of.reply(answers["expert"]), [one, one, two]))
    assert sorted(turn.info["turn"] for turn in turns) == [1, 1, 2]
    assert slow.most == 2  # two sessions at once, each with one


def test_an_event_loop_has_the_same_turns(evaluator, answers):
    kinds = ("zeros", "empty", "expert", "expert")
    plain, looped = (Conversation("softmax", evaluator=evaluator) for _ in range(2))
    plain.open(seed=0)
    looped.open(seed=0)

    async def play():
        return [await looped.areply(answers[kind]) for kind in kinds]

    for kind, ours in zip(kinds, asyncio.run(play()), strict=True):
        theirs = plain.reply(answers[kind])
        assert (ours.message, ours.reward, ours.done) == (
            theirs.message,
            theirs.reward,
            theirs.done,
        )


def test_an_event_loop_says_two_things_at_once_and_takes_one_back(stub, answers):
    slow = Slow(stub, room=1)
    episode = Conversation("softmax", evaluator=slow, max_turns=9)
    episode.open(seed=0)

    async def play():
        first, second, third = (
            asyncio.create_task(episode.areply(answers["expert"] + "#" * number))
            for number in range(3)
        )
        await asyncio.sleep(0.05)
        second.cancel()  # it waits for the first
        return await asyncio.gather(first, second, third, return_exceptions=True)

    first, second, third = asyncio.run(play())
    assert isinstance(second, asyncio.CancelledError)
    assert [first.info["turn"], third.info["turn"], slow.most] == [1, 2, 1]

    async def crowd():
        """Where there is no room, no event loop waits for it."""
        other = Conversation("softmax", evaluator=slow, max_turns=9)
        other.open(seed=0)
        tasks = [asyncio.create_task(one.areply(answers["expert"])) for one in (episode, other)]
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.15
        return [turn.info["turn"] for turn in await asyncio.gather(*tasks)]

    assert asyncio.run(crowd()) == [3, 1]


def test_an_unknown_task_is_named():
    with pytest.raises(InvalidOptionError, match="softmx"):
        Conversation("softmx")


class Mapped:
    """An evaluator without processes."""

    def __init__(self):
        self.sources = []

    def submit(self, task, source, **options):
        from triton_gym import Outcome, Status

        self.sources.append(source)
        future = Future()
        future.set_result(Outcome(status=Status.INCORRECT, message=source))
        return future


def test_a_group_of_replies_is_evaluated_together_and_equal_ones_once(answers):
    mapped = Mapped()
    replies = [answers["expert"], answers["zeros"], answers["expert"], answers["empty"]]
    outcomes = evaluate_replies(mapped, ["softmax"] * 4, replies)
    assert len(mapped.sources) == 2
    assert outcomes[0] is outcomes[2]
    assert "def softmax" in outcomes[0].message
    assert outcomes[1].message != outcomes[0].message
    assert outcomes[3].status == "invalid_action"


def test_replies_need_a_task_each():
    with pytest.raises(InvalidOptionError, match="one for each reply"):
        evaluate_replies(Mapped(), ["softmax"], ["a", "b"])


def test_a_resource_server_keeps_its_sessions_apart(evaluator, answers):
    """NeMo-Gym by its protocol alone."""

    class Server(KernelResource):
        kernel_options = {"evaluator": evaluator}  # noqa: RUF012

    async def play():
        server = Server()
        one, _ = await server.reset({"task": "softmax"}, "one")
        two, about = await server.reset({"task": "sum_rows"}, "two")
        assert one != two
        assert about["task"] == "sum_rows"
        response = {"output": [{"content": [{"text": answers["expert"]}]}]}
        _, reward, terminated, truncated, info = await server.step(response, {}, "one")
        assert (reward > 0, terminated, info["status"]) == (True, False, "correct")
        assert not truncated
        with pytest.raises(InvalidOptionError, match="reset comes first"):
            await server.step(response, {}, "three")

    asyncio.run(play())


def test_a_client_that_leaves_or_begins_anew_loses_no_session(stub, answers):
    class Server(KernelResource):
        kernel_options = {"evaluator": Slow(stub), "max_turns": 2}  # noqa: RUF012

    async def play():
        server = Server()
        await server.reset({"task": "softmax"}, "one")
        await server.reset({"task": "softmax"}, "two")
        left = asyncio.create_task(server.step(answers["expert"], {}, "one"))
        await asyncio.sleep(0.05)
        left.cancel()
        assert (await server.step(answers["zeros"], {}, "two"))[4]["turn"] == 1
        # What the first client said counts as not said; it comes back for its first turn.
        assert (await server.step(answers["expert"], {}, "one"))[4]["turn"] == 1
        await server.reset({"task": "sum_rows"}, "two")
        for kind in ("empty", "huge"):
            found = await server.step(answers[kind], {}, "two")
            assert found[4]["status"] == "invalid_action"
        with pytest.raises(InvalidOptionError, match="must name the task"):
            await server.reset({}, "three")

    asyncio.run(play())


@pytest.mark.slow
def test_a_resource_server_goes_on_when_its_judge_is_killed(dying, answers):
    class Server(KernelResource):
        kernel_options = {"evaluator": dying}  # noqa: RUF012

    async def play():
        server = Server()
        await server.reset({"task": "softmax"}, "one")
        return await server.step(answers["expert"], {}, "one")

    assert asyncio.run(play())[4]["status"] == "correct"


def test_the_text_of_a_response_in_each_of_its_forms():
    assert text_of("a") == text_of({"output_text": "a"}) == text_of({"content": "a"}) == "a"
    assert text_of({}) == ""
