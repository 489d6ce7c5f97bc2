"""Chat agents over endpoints (a server on the loopback) and local models, and their scores."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from triton_gym.agents import load, play
from triton_gym.agents.chat.agents import BestOfN, Chat
from triton_gym.agents.chat.models import Endpoint, chat_model
from triton_gym.agents.chat.replies import Replies
from triton_gym.agents.chat.scoring import score
from triton_gym.agents.scoring import Attempt, correct_at_k, scores
from triton_gym.errors import InvalidOptionError, RunError

sys.path.insert(0, str(Path(__file__).parent))
from toy import KNOBS, Knobs


class Server(ThreadingHTTPServer):
    """Plays its `plays` one after the other (the last for ever) and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, plays):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plays, self.asked, self.keys = list(plays), [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append(body)
        server.keys.append(self.headers.get("Authorization"))
        play = server.plays.pop(0) if len(server.plays) > 1 else server.plays[0]
        if play == "stall":
            time.sleep(0.6)
            return
        if play == "drop":
            self.connection.close()
            return
        status, text = play if isinstance(play, tuple) else (200, play)
        null = callable(text)
        if callable(text):
            text = text(body)
        answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        raw = json.dumps(answer).encode() if status == 200 and (null or text is not None) else b"{}"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*plays):
        servers.append(Server(plays))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def endpoint(server, **options):
    return Endpoint(url=server.url, model="m", pause_s=0.01, timeout_s=0.3, **options)


MESSAGES = [{"role": "user", "content": "hi"}]


def test_an_endpoint_that_fails_is_asked_again(serve):
    server = serve((503, ""), (429, ""), "stall", "drop", "hello")
    assert endpoint(server, key="secret").reply([MESSAGES], seed=3) == ["hello"]
    assert len(server.asked) == 5
    assert server.asked[0]["messages"] == MESSAGES
    assert server.asked[0]["seed"] == 3
    assert server.keys[0] == "Bearer secret"


def test_an_endpoint_that_keeps_failing_is_an_error(serve):
    with pytest.raises(RunError, match="failed 3 times, at last with HTTP 500"):
        endpoint(serve((500, "")), tries=3).reply([MESSAGES], seed=0)
    with pytest.raises(RunError, match="failed 2 times, at last with TimeoutError"):
        endpoint(serve("stall"), tries=2).reply([MESSAGES], seed=0)
    refusing = serve((401, ""))
    with pytest.raises(RunError, match="refused the request: HTTP 401"):
        endpoint(refusing).reply([MESSAGES], seed=0)
    assert len(refusing.asked) == 1
    with pytest.raises(RunError, match="not a chat completion"):
        endpoint(serve((200, None))).reply([MESSAGES], seed=0)


def test_models_are_named(serve):
    server = serve("hello")
    assert chat_model(f"{server.url}#qwen").reply([MESSAGES] * 3, seed=0) == ["hello"] * 3
    assert server.asked[0]["model"] == "qwen"
    with pytest.raises(InvalidOptionError, match="after #"):
        chat_model(server.url)
    with pytest.raises(InvalidOptionError, match="does not take"):
        chat_model(f"{server.url}#qwen", heat=1)
    maker = load(f"best-of-n:{server.url}#qwen")
    assert isinstance(maker(Knobs(), seed=0), BestOfN)


class Script:
    """A model that says what it is told to, and remembers the conversations."""

    def __init__(self, *replies):
        self.replies, self.seen = list(replies), []

    def reply(self, conversations, seed):
        self.seen += [[dict(m) for m in c] for c in conversations]
        return [self.replies.pop(0) for _ in conversations]


def test_best_of_n_asks_for_independent_replies():
    model = Script(*KNOBS)
    rewards = []
    env = Knobs(turns=4)
    agent = BestOfN(env, seed=0, model=model, ahead=4)
    agent.learn = lambda action, observation, reward, *rest: rewards.append(reward)
    play(agent, env, 8, seed=0)
    assert len({json.dumps(c) for c in model.seen}) == 1
    assert [m["role"] for m in model.seen[0]] == ["system", "user"]
    assert len(rewards) == 8


def test_chat_shows_what_became_of_the_reply():
    model = Script("a", "d", "c", "b")
    play(Chat(Knobs(), seed=0, model=model), Knobs(turns=3), 4, seed=0)
    assert [len(c) for c in model.seen] == [2, 4, 6, 2]  # a new episode is a new conversation
    assert [m["content"] for m in model.seen[2]][2:] == [
        "a", "Feedback: incorrect\nReply with a corrected module.",
        "d", "Feedback: correct\nReply with a faster module.",
    ]  # fmt: skip


def test_chat_forgets_the_oldest_replies():
    model = Script(*"abcdefgh")
    play(Chat(Knobs(), seed=0, model=model, remembered=2), Knobs(turns=8), 8, seed=0)
    last = model.seen[-1]
    assert [m["role"] for m in last] == ["system", "user", *["assistant", "user"] * 2]
    assert last[1] == model.seen[0][1]
    assert [m["content"] for m in last if m["role"] == "assistant"] == ["f", "g"]


def test_a_resumed_chat_is_not_asked_again():
    whole, resumed = Script(*"adc"), Script("c")
    play(Chat(Knobs(), seed=0, model=whole), Knobs(turns=3), 3, seed=0)
    play(Chat(Knobs(), seed=0, model=resumed), Knobs(turns=3), 3, seed=0, history=["a", "d"])
    assert resumed.seen == whole.seen[-1:]


def test_a_local_model_chats():
    pytest.importorskip("transformers")
    env = Knobs()
    play(load("grpo:tiny-random")(env, seed=0, longest=4), env, 2, seed=0)


# -- scores ---------------------------------------------------------------------------------------


def test_correct_at_k_is_the_share_of_subsets_with_a_correct_try():
    assert correct_at_k(4, 0, 2) == 0.0
    assert correct_at_k(4, 3, 2) == 1.0
    assert correct_at_k(4, 1, 2) == pytest.approx(3 / 6)  # subsets of 2 of 4 that hold the one
    assert correct_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)


def test_scores_worked_by_hand():
    nan = float("nan")
    attempts = [
        Attempt("a", "correct", 2.0, 2.3), Attempt("a", "correct", 0.5, 0.8),
        Attempt("a", "incorrect", nan), Attempt("a", "cheating", 9.0),
        Attempt("b", "correct", 1.5, 1.8), *[Attempt("b", "rejected", nan)] * 3,
    ]  # fmt: skip
    found = scores(attempts, ks=(1, 2, 8))
    total = found["total"]
    assert total["correct@1"]["value"] == pytest.approx((0.5 + 0.25) / 2)
    assert total["correct@2"]["value"] == pytest.approx((5 / 6 + 3 / 6) / 2)
    assert "correct@8" not in total
    assert total["fast_1"]["value"] == pytest.approx((0.25 + 0.25) / 2)
    assert total["mean_speedup"]["value"] == pytest.approx(4 / 3)
    assert total["median_speedup"]["value"] == 1.5
    assert total["share_cheating"]["value"] == pytest.approx(1 / 8)
    assert total["share_rejected"]["value"] == pytest.approx(3 / 8)
    assert total["correct@1"]["low"] <= total["correct@1"]["value"] <= total["correct@1"]["high"]
    assert found["tasks"]["a"]["best_speedup"] == 2.0
    assert found["tasks"]["b"]["statuses"] == {"correct": 1, "rejected": 3}
    nothing = scores([Attempt("a", "incorrect", nan)])["total"]
    assert nothing["mean_speedup"] == {"value": None, "low": None, "high": None}


def test_one_task_alone_has_no_interval():
    found = scores([Attempt("a", "correct", 2.0, 2.3), Attempt("a", "incorrect", 0.5)])["total"]
    assert found["correct@1"] == {"value": 0.5, "low": None, "high": None}
    assert found["mean_speedup"] == {"value": 2.0, "low": None, "high": None}


def test_scoring_goes_on_with_the_replies_that_it_has(tmp_path, stub):
    """Ended in the second turn: no reply is asked for twice, none is evaluated twice."""
    import gymnasium as gym

    import triton_gym

    starter = triton_gym.load("gelu").starter
    turns = [[starter, "x = (", starter + "# b"], [starter + "# 2", "", starter + "# c"]]
    about = {"model": "script"}

    class Ended(Script):
        def stream(self, conversations, seeds):
            for number, reply in enumerate(self.reply(conversations, seeds[0])):
                if reply is None:
                    raise KeyboardInterrupt
                yield number, reply

    def run(model, path):
        def make(name):
            return gym.make(name, evaluator=stub, max_turns=2)

        with Replies(path, about) as replies:
            return score(model, make, [("TritonKernel-gelu-v0", 0)], tries=3, turns=2,
                         workers=1, replies=replies)  # fmt: skip

    whole = run(Script(*turns[0], *turns[1]), tmp_path / "whole.jsonl")
    assert whole["replies"] == {"made": 6, "empty": 1}
    evaluated = len(stub.sources)
    model = Ended(*turns[0], turns[1][0], None, None)
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "ended.jsonl")
    with (tmp_path / "ended.jsonl").open("a") as file:
        file.write('{"conversation": 1, "rep')  # as a kill leaves it
    before = (tmp_path / "ended.jsonl").read_text()
    assert before.count('"reply"') == 4
    rest = Script(*turns[1][1:])
    assert run(rest, tmp_path / "ended.jsonl") == whole
    assert [len(c) for c in rest.seen] == [4, 4]  # each with its first turn
    assert len(stub.sources) <= 2 * evaluated + 1
    with pytest.raises(InvalidOptionError, match="model was 'script', now 'other'"):
        Replies(tmp_path / "ended.jsonl", {"model": "other"})
    (tmp_path / "ended.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match="line 1, is damaged"):
        Replies(tmp_path / "ended.jsonl", about)


@pytest.mark.parametrize(
    "change",
    [{"reward": None}, {"reward": 10**400}, {"speedup": "x"}, {"status": 5}, {"outcome": {}},
     {"outcome": 5}],
)  # fmt: skip
def test_a_damaged_line_of_replies_is_told(change, tmp_path):
    result = {"task": "t", "status": "correct", "reward": 1.0, "speedup": 2.0, "outcome": None}
    path = tmp_path / "kept.jsonl"
    with Replies(path, {"model": "m"}) as kept:
        kept.reply(0, "text")
        kept.result(0, result)
    with Replies(path, {"model": "m"}) as kept:
        assert kept.known[0][0].result == result
    with Replies(path, {"model": "m"}) as kept:
        kept.result(0, {**result, **change})
    with pytest.raises(RunError, match="line 4, is damaged"):
        Replies(path, {"model": "m"})
    path.write_text('{"about": {"model": "m"}}\n' + "[" * 100_000 + "\n")
    with pytest.raises(RunError, match="line 2, is damaged"):
        Replies(path, {"model": "m"})


def test_a_null_reply_is_told(serve):
    found = score(endpoint(serve(lambda body: None)), lambda name: Knobs(), [("knobs", 5)], tries=2)
    assert found["replies"] == {"made": 2, "empty": 2}
    assert found["tasks"]["knobs"]["statuses"] == {"empty_reply": 2}


def test_an_endpoint_gives_replies_as_they_arrive(serve):
    server = serve(lambda body: time.sleep(5) if "slow" in str(body["messages"]) else "quick")
    asked = [[{"role": "user", "content": text}] for text in ("slow", "quick")]
    replies = Endpoint(url=server.url, model="m", tries=1).stream(asked, [0, 1])
    assert next(replies) == (1, "quick")
    replies.close()


def test_scoring_a_model_takes_the_best_turn():
    model = Script("a", "b", "c", *["d"] * 3)  # turn 1: letters; turn 2: the best letter is d
    found = score(model, lambda name: Knobs(turns=2), [("knobs", 5)], tries=3, turns=2)
    assert found["total"]["correct@1"]["value"] == 1.0
    one = score(Script("a", "b", "c"), lambda name: Knobs(), [("knobs", 5)], tries=3)
    assert one["total"]["correct@1"]["value"] == pytest.approx(1 / 3)
    with pytest.raises(InvalidOptionError, match="tries"):
        score(model, lambda name: Knobs(), [], tries=1)
