"""What a policy is worth: held-out composed tasks, the catalogue, and edits of slow kernels.

Replies are sampled first and evaluated afterwards, so that a policy that is gone can still be
evaluated, elsewhere too. Edits of several turns need the policy and the device at once.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import record

from triton_gym.agents.data import read_rows
from triton_gym.agents.grpo.episodes import Place, Stage
from triton_gym.agents.grpo.examination import best_of
from triton_gym.agents.grpo.judging import SharedEvaluator
from triton_gym.agents.grpo.places import HELD_OUT, draw_places, maker
from triton_gym.agents.policy.conversation import prompt_tokens
from triton_gym.agents.policy.models import Policy, load_policy
from triton_gym.agents.policy.sampling import LocalSampler
from triton_gym.agents.policy.settings import PolicySettings, SamplingSettings
from triton_gym.agents.scoring import Attempt, fast, mean_interval, scores
from triton_gym.outcome import Outcome
from triton_gym.prompt import opening
from triton_gym.registration import catalogue
from triton_gym.runs.folder import write_json

KS = (1, 2, 4, 8)
ONCE = ("composed", "greedy", "catalogue")
"""Parts whose episodes have one reply."""
EDITS = {"split": "test", "action_mode": "edit"}
PARTS = (*ONCE, "edits")
TURNS = 3
"""Of edits."""
AT_ONCE = 128
"""Replies that are sampled together, or wait for their evaluation."""
KEPT_EVERY = 32
"""Evaluations after which outcomes are written down."""


def examine(options: argparse.Namespace) -> None:
    """Held-out composed tasks, the catalogue, and edits of slow kernels, for one policy.

    Composed tasks are tried several times at temperature 1, and once with the likeliest tokens.
    """
    target = _file(options, "examined")
    target.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = json.loads(target.read_text()) if target.is_file() else {}
    deadline = time.monotonic() + (options.budget or math.inf)
    wanted = options.only or ["sample", "edits", "evaluate"]
    sampled = _file(options, "replies").with_suffix(".json.gz")
    if {"sample", "edits"} & set(wanted):
        model = options.model if options.stage == "base" else None
        folder = Path(options.work) / f"{options.stage}-{options.seed}"
        best = folder / "checkpoints" / "best"
        if best.exists():
            folder = best.resolve()
            known["checkpoint"] = folder.name
        policy = load_policy(PolicySettings(model=model or str(folder)))
        if "sample" in wanted and not sampled.is_file():
            partial = sampled.with_suffix(".partial")
            text = json.dumps(sample(policy, options))
            partial.write_bytes(gzip.compress(text.encode(), mtime=0))
            partial.replace(sampled)
        if "edits" in wanted:
            edit(policy, options, known, target, deadline)
    if "evaluate" in wanted:
        replies = json.loads(gzip.decompress(sampled.read_bytes()))
        evaluate(replies, options, known, target, deadline)
    if known.get("composed"):
        print(json.dumps(summary(known)["composed"]["total"], indent=1))


def sample(policy: Policy, options: argparse.Namespace) -> dict[str, Any]:
    """Replies to every task of the parts that have one turn: text and number of tokens."""
    found: dict[str, Any] = {}
    room = policy.context - options.longest
    for name, (places, arguments, tries, temperature) in _parts(options).items():
        sampler = LocalSampler(
            policy,
            SamplingSettings(temperature=temperature, longest=options.longest, batch=AT_ONCE),
        )
        make = maker(arguments, evaluator=None, turns=1, reward="kevin")
        prompts = []
        for place in places:
            env = make(place.env)
            observation, _ = env.reset(seed=place.seed)
            tokens = prompt_tokens(policy.tokenizer, opening(observation), room)
            if tokens is None:
                raise SystemExit(f"{place} does not fit {room} tokens")
            prompts += [tokens] * tries
        replies = sampler.sample(prompts, options.seed)
        found[name] = [
            [{"text": r.text, "tokens": len(r.tokens)} for r in replies[i : i + tries]]
            for i in range(0, len(replies), tries)
        ]
        sampler.release()
        print(name, len(replies), "replies", flush=True)
    return found


def evaluate(
    replies: dict[str, Any], options: argparse.Namespace, known: dict[str, Any], target: Path,
    deadline: float,
) -> None:  # fmt: skip
    """Evaluate what was sampled and has no outcome yet, task by task, until the deadline."""
    evaluator = SharedEvaluator.on(options.device, options.workers)
    known["device"], known["measured"] = evaluator.describe(), record.header()
    for name, (places, arguments, _, _) in _parts(options).items():
        if name not in replies:
            continue
        rows = known.setdefault(name, [])
        have = {(row["place"], row["try"]) for row in rows}
        make = maker(arguments, evaluator=evaluator, turns=1, reward="kevin")  # type: ignore[arg-type]

        def outcome(
            index: int, number: int, reply: dict[str, Any], make: Any = make, places: Any = places
        ) -> dict[str, Any] | None:
            if time.monotonic() > deadline:
                return None
            env = make(places[index].env)
            _, info = env.reset(seed=places[index].seed)
            task = f"{info['task']}@{places[index].seed}"
            _, reward, _, _, info = env.step(reply["text"])
            turns = [_turn(info, reward, reply["tokens"])]
            return {"place": index, "try": number, "task": task, "turns": turns}

        with ThreadPoolExecutor(AT_ONCE) as pool:  # equal tries all wait for one evaluation
            futures = [
                pool.submit(outcome, index, number, reply)
                for index, tries in enumerate(replies[name][: len(places)])
                for number, reply in enumerate(tries)
                if (index, number) not in have
            ]
            for done, future in enumerate(as_completed(futures), 1):
                row = future.result()
                rows += [row] if row else []
                if done % KEPT_EVERY == 0 or done == len(futures):
                    write_json(target, known)
        print(name, len(rows), "of", sum(map(len, replies[name][: len(places)])), flush=True)
    evaluator.close()


def edit(
    policy: Policy, options: argparse.Namespace, known: dict[str, Any], target: Path,
    deadline: float,
) -> None:  # fmt: skip
    """Edits of slow kernels in several turns, until the deadline."""
    places, tries = _slow(options), max(1, options.tries // 2)
    evaluator = SharedEvaluator.on(options.device, options.workers)
    known["device"], known["measured"] = evaluator.describe(), record.header()
    sampler = LocalSampler(
        policy, SamplingSettings(temperature=1.0, longest=options.longest, batch=AT_ONCE)
    )
    make = maker(EDITS, evaluator=evaluator, turns=TURNS, reward="kevin")  # type: ignore[arg-type]
    stage = Stage(
        policy, sampler, make, turns=TURNS, longest=options.longest, parts=1,
        threads=AT_ONCE,
    )  # fmt: skip
    rows = known.setdefault("edits", [])
    first = len({row["place"] for row in rows})
    for start in range(first, len(places), max(1, AT_ONCE // tries)):
        if time.monotonic() > deadline:
            break
        some = places[start : start + max(1, AT_ONCE // tries)]
        evaluator.forget()
        begun = [_started(make(place.env), place, evaluator) for place in some]
        for episode in stage.play(some, tries, [options.seed, start]):
            turns = [
                {**_turn(t.info, t.reward, len(t.reply.tokens)), "unchanged": t.unchanged}
                for t in episode.turns
            ]
            rows.append(
                {
                    "place": start + episode.group, "task": best_of(episode).task,
                    "start": _finite(begun[episode.group].result().speedup), "turns": turns,
                }
            )  # fmt: skip
        write_json(target, known)
        print("edits", start + len(some), "of", len(places), flush=True)
    stage.close()
    evaluator.close()


def _parts(options: argparse.Namespace) -> dict[str, Any]:
    """Places, arguments of the environment, tries and temperature of each part."""
    test = {"split": "test"}
    wanted = max(options.tasks, options.greedy)
    composed = draw_places(("TritonKernel-composed-v0",), wanted, HELD_OUT)
    listed = [
        Place(f"TritonKernel-{name}-v0", 0) for name in catalogue() if name != "composed"
    ]  # fmt: skip
    parts = {
        "composed": (composed[: options.tasks], test, options.tries, 1.0),
        "greedy": (composed[: options.greedy], test, 1, 0.0),
        "catalogue": (listed, {}, options.tries, 1.0),
    }
    return {name: part for name, part in parts.items() if part[0] and name in options.parts}


def _slow(options: argparse.Namespace) -> list[Place]:
    """Correct but slow kernels of held-out tasks, from the data set."""
    rows = [r for r in read_rows(files(options, "test")[0]) if r["kind"] == "speedup_edit"]
    unique = {row["seed"]: row for row in rows}
    return [
        Place("TritonKernel-composed-v0", int(row["seed"]), row["before"])
        for row in list(unique.values())[: options.edits]
    ]


def files(options: argparse.Namespace, split: str) -> list[Path]:
    """A split's file in each of the data sets; held-out examples are those of the first."""
    found = [sorted(Path(folder).glob(f"{split}.*")) for folder in options.data]
    return [
        some[0] if some else Path(folder) / f"{split}.parquet"
        for folder, some in zip(options.data, found, strict=True)
    ]


def _started(env: Any, place: Place, evaluator: SharedEvaluator) -> Future[Outcome]:
    """What the kernel of a place is worth before it is edited."""
    env.reset(seed=place.seed)
    return evaluator.submit(env.unwrapped.task, place.kernel)


def _file(options: argparse.Namespace, what: str) -> Path:
    return Path(options.work) / f"{what}-{options.stage}-{options.seed}.json"


def _turn(info: dict[str, Any], reward: float, tokens: int) -> dict[str, Any]:
    """What became of a reply; of one that is not correct, also what it was told."""
    why = {} if info["status"] == "correct" else {"why": str(info.get("message", ""))[-200:]}
    return {
        "status": str(info["status"]), "speedup": _finite(info["speedup"]),
        "runtime_us": _finite(info["runtime_us"]), "reward": float(reward), "tokens": tokens, **why,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def summary(known: dict[str, Any]) -> dict[str, Any]:
    """Scores of every part, with intervals over tasks."""
    found: dict[str, Any] = {"device": known.get("device")}
    for part in PARTS:
        rows = known.get(part) or []
        if rows:
            attempts = [_attempt(row, len(row["turns"])) for row in rows]
            found[part] = scores(attempts, KS)
            turns = max(len(row["turns"]) for row in rows)
            if turns > 1:
                found[part]["by_turn"] = [
                    scores([_attempt(row, t + 1) for row in rows], KS)["total"]
                    for t in range(turns)
                ]
                found[part]["gain_by_turn"] = [_gain(rows, t + 1) for t in range(turns)]
    return found


def pooled(examined: list[dict[str, Any]]) -> dict[str, Any]:
    """The examinations of one stage's policies as one: each task's tries are those of all seeds."""
    return {
        "device": examined[0].get("device"),
        **{part: [row for one in examined for row in one.get(part) or []] for part in PARTS},
    }


def difference(better: dict[str, Any], worse: dict[str, Any]) -> dict[str, Any]:
    """Means over tasks that both tried of one's score less the other's, with intervals."""
    found: dict[str, Any] = {}
    for part in PARTS:
        ours, theirs = (_by_task(one.get(part) or []) for one in (better, worse))
        both = sorted(ours.keys() & theirs.keys())
        if not both:
            continue
        found[part] = {
            name: mean_interval([score(ours[t]) - score(theirs[t]) for t in both])
            for name, score in _SCORES.items()
        }
        right = [t for t in both if _correct(ours[t]) and _correct(theirs[t])]
        found[part]["speedup of correct ones"] = mean_interval(
            [_speedup(ours[t]) - _speedup(theirs[t]) for t in right]
        )
    return found


def _by_task(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tasks.setdefault(row["task"], []).append(row)
    return tasks


def _correct(rows: list[dict[str, Any]]) -> float:
    return statistics.fmean(_attempt(row, len(row["turns"])).correct for row in rows)


def _fast(rows: list[dict[str, Any]]) -> float:
    return fast([_attempt(row, len(row["turns"])) for row in rows], 1.0)


def _speedup(rows: list[dict[str, Any]]) -> float:
    attempts = [_attempt(row, len(row["turns"])) for row in rows]
    return statistics.fmean(a.speedup for a in attempts if a.correct)


def _best_speedup(rows: list[dict[str, Any]]) -> float:
    """A try's best speedup over PyTorch, on average: of edits the kernel that they start from counts,
    where it was evaluated, and otherwise a failure as none."""
    return statistics.fmean(
        max(
            row.get("start") or 0.0,
            *(t["speedup"] or 0.0 for t in row["turns"] if t["status"] == "correct"),
            0.0,
        )
        for row in rows
    )


_SCORES = {
    "correct": _correct,
    "fast_1": _fast,
    "best speedup, or what there was before": _best_speedup,
}


def _attempt(row: dict[str, Any], turns: int) -> Attempt:
    best = max(row["turns"][:turns], key=lambda turn: turn["reward"])
    speedup = math.nan if best["speedup"] is None else best["speedup"]
    return Attempt(row["task"], best["status"], speedup, best["reward"])


def _gain(rows: list[dict[str, Any]], turns: int) -> dict[str, float | None]:
    """Mean over tasks of the best speedup within some turns; see `_best_speedup`."""
    cut = [{**row, "turns": row["turns"][:turns]} for row in rows]
    return mean_interval([_best_speedup(some) for some in _by_task(cut).values()])
