"""A task looked over before anyone is asked to beat it: `triton_gym.verify(task)`.

    report = triton_gym.verify(task)
    print(report)
    report.ok      # whether nothing is wrong; what is only doubtful is told, too

It runs what an evaluation runs: the reference on every tiny case, in its dtype and as an oracle;
answers that do no work, which must fail; starter and expert, which must pass; and it holds FLOPs
and bytes against what the reference does without values.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from triton_gym.errors import InvalidTaskError
from triton_gym.evaluation import check, trees
from triton_gym.evaluation.admission import admit
from triton_gym.evaluation.faults import hold_counts
from triton_gym.evaluation.modules import bind, state_of
from triton_gym.evaluation.reference import exactly
from triton_gym.evaluation.service.evaluator import Evaluator
from triton_gym.suites.reading import Reading
from triton_gym.task import Case, Task

FEWER = 0.5
"""Share of the counted FLOPs and bytes below which a task's bound says little."""
MORE_BYTES = 1.02
"""Share of the counted bytes above which answers that are right would be called cheating."""
MORE_FLOPS = 1.05
"""The same for FLOPs, where only matrix products and convolutions make them."""
_CPU = torch.device("cpu")


class Level(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Answers would be judged wrongly."""
    DOUBT = "doubt"
    """Implausible, or weak; it may be meant."""
    FINE = "fine"
    """What was looked at and found in order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    """A sentence, with what was measured."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found about a task; `str(report)` has a line for each."""

    task: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.level is Level.ERROR for finding in self.findings)

    def __str__(self) -> str:
        verdict = "nothing is wrong" if self.ok else "answers would be judged wrongly"
        lines = [f"  {finding.level:5}  {finding.what}" for finding in self.findings]
        return "\n".join((f"Task {self.task!r}: {verdict}.", *lines))


def verify(task: Task, device: str = "auto", *, evaluator: Evaluator | None = None) -> Report:
    """Look a task over.

    Args:
        task: any.
        device: where starter and expert are evaluated; see `Evaluator`.
        evaluator: an open one, instead of `device`.
    """
    looks = (_reference, _lazy_answers, _work)
    found = list(dict.fromkeys(one for look in looks for one in _gathered(task, look)))
    if all(finding.level is not Level.ERROR for finding in found):
        with nullcontext(evaluator) if evaluator is not None else Evaluator(device) as opened:
            found += _gathered(task, lambda task: _answers(task, opened))
    return Report(task.name, tuple(found))


def _gathered(task: Task, look: Callable[[Task], Iterator[Finding]]) -> list[Finding]:
    """What a look finds; the fault of a task's function ends it."""
    found: list[Finding] = []
    try:
        found.extend(look(task))
    except InvalidTaskError as error:
        found.append(Finding(Level.ERROR, str(error)))
    return found


def _reference(task: Task) -> Iterator[Finding]:
    """What the reference is judged by."""
    case = admit(task, _CPU)
    yield Finding(Level.FINE, f"The reference judges answers, on {case} to begin with.")
    bound = bind(task, case, 1, _CPU)
    inputs = check.draw_inputs(task, case, 1, _CPU)
    expected = check.expect(bound, case, inputs)
    _, seen = exactly(bound, inputs, case)
    if seen.rounded:
        yield Finding(
            Level.DOUBT,
            "The oracle is not float64 throughout: the reference stores its values in narrower "
            f"memory that was made outside ({', '.join(sorted(seen.rounded))}).",
        )
    for index, output in enumerate(expected.outputs):
        name = f"Output {index}" if len(expected.outputs) > 1 else "The result"
        if not (output.is_floating_point() or output.is_complex()):
            yield Finding(Level.FINE, f"{name} must be equal.")
            continue
        yield Finding(
            Level.FINE,
            f"{name} may be off by {expected.tolerances[index]:.2g} of its size, in the root mean "
            f"square by {expected.typical[index]:.2g}; its values spread by "
            f"{check.spread(output):.2g}.",
        )
        mask = expected.mask(index)
        if mask is not None and (share := float(mask.double().mean())) > 0.01:
            yield Finding(
                Level.DOUBT, f"Of {name.lower()}, {share:.0%} of the values are not judged: "
                "rounding decides them.",
            )  # fmt: skip


def _lazy_answers(task: Task) -> Iterator[Finding]:
    """Answers that do no work, on every tiny case."""
    passed: dict[str, list[Case]] = {}
    for case in task.tiny:
        bound = bind(task, case, 1, _CPU)
        inputs = check.draw_inputs(task, case, 1, _CPU)
        plain = check.returned(bound, inputs, case)
        expected = check.expect(bound, case, inputs, plain)
        verdict = check.compare(plain.tensors, expected, str(case))
        if not verdict.ok:
            yield Finding(
                Level.DOUBT, f"The reference itself is less exact than an answer must be. "
                f"{verdict.message}",
            )  # fmt: skip
        for name, answer in _trivial(plain.tensors, inputs).items():
            if any(x.numel() for x in answer) and check.compare(answer, expected, str(case)).ok:
                passed.setdefault(name, []).append(case)
    for name, cases in passed.items():
        everywhere = len(cases) == len(task.tiny)
        yield Finding(
            Level.ERROR if everywhere else Level.DOUBT,
            f"As an answer, {name} would pass on {'every tiny case' if everywhere else cases[0]}.",
        )
    if not passed:
        yield Finding(Level.FINE, "Zeros, ones, the mean and copies of arguments fail everywhere.")


def _trivial(
    plain: tuple[torch.Tensor, ...], inputs: tuple[object, ...]
) -> dict[str, list[torch.Tensor]]:
    found = {
        "zeros": [torch.zeros_like(p) for p in plain],
        "ones": [torch.ones_like(p) for p in plain],
    }
    if all(p.is_floating_point() and p.numel() > 1 for p in plain):
        found["the mean"] = [
            torch.full_like(p, float(p.double().nanmean().nan_to_num(0.0))) for p in plain
        ]
    for index, tensor in enumerate(trees.flatten(inputs)[0]):
        if all((p.shape, p.dtype) == (tensor.shape, tensor.dtype) for p in plain):
            found[f"a copy of tensor {index} of the arguments"] = [tensor] * len(plain)
    return found


def _work(task: Task) -> Iterator[Finding]:
    """FLOPs and bytes of every timed case against what the reference does."""
    for case in task.bench:
        hold_counts(task, case)
        flops, moved = float(task.flops(case)), float(task.min_bytes(case))
        try:
            counted_flops, counted_bytes = _counted(task, case)
        except InvalidTaskError as error:
            yield Finding(Level.DOUBT, f"Its work cannot be counted without values. {error}")
            return
        if moved > MORE_BYTES * counted_bytes:
            yield Finding(
                Level.ERROR, f"min_bytes gives {moved:.4g} on {case}, but the reference's result "
                f"is made of {counted_bytes:.4g}: right answers could be called cheating.",
            )  # fmt: skip
        elif moved < FEWER * counted_bytes:
            yield Finding(
                Level.DOUBT, f"min_bytes gives {moved:.4g} on {case}, where the reference's result "
                f"is made of {counted_bytes:.4g}: the roofline is too high to reach.",
            )  # fmt: skip
        if counted_flops and flops > MORE_FLOPS * counted_flops and flops > 2 * counted_flops:
            yield Finding(
                Level.DOUBT, f"flops gives {flops:.4g} on {case}, the reference's products make "
                f"{counted_flops:.4g}: if those are all, right answers could be called cheating.",
            )  # fmt: skip
        elif flops < FEWER * counted_flops:
            yield Finding(
                Level.DOUBT, f"flops gives {flops:.4g} on {case}, where the reference's products "
                f"alone make {counted_flops:.4g}: the bound says little.",
            )  # fmt: skip
        yield Finding(
            Level.FINE, f"On {case}: {flops:.4g} FLOPs on {task.unit or 'inferred'} units, "
            f"{moved:.4g} bytes of {counted_bytes:.4g} counted.",
        )  # fmt: skip


def _counted(task: Task, case: Case) -> tuple[float, float]:
    """FLOPs of the reference's products, and bytes that its result is made of and takes."""
    mode, arguments = check.fake_arguments(task, case)
    with mode:
        bound = bind(task, case, 0)
    given = [*trees.flatten(arguments)[0], *(value for _, value in state_of(bound))]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), mode, counter, Reading(given) as reading:
        result = check.returned(bound, arguments, case).tensors
    written = sum(tensor.numel() * tensor.element_size() for tensor in result)
    return float(counter.get_total_flops()), float(reading.bytes(result) + written)


def _answers(task: Task, evaluator: Evaluator) -> Iterator[Finding]:
    """Starter and expert."""
    for name, source in (("starter", task.starter), ("expert", task.expert)):
        if not source:
            yield Finding(Level.DOUBT, f"There is no {name}.")
            continue
        outcome = evaluator.evaluate(task, source)
        if not outcome.correct:
            yield Finding(Level.ERROR, f"The {name} is {outcome.status}: {outcome.message}")
            continue
        yield Finding(
            Level.FINE,
            f"The {name} is correct: {outcome.runtime_us:.1f} µs ({outcome.time_source}), speedup "
            f"{outcome.speedup:.2f}, {outcome.roofline:.0%} of the speed of light.",
        )
        if outcome.roofline < 0.02:
            yield Finding(
                Level.DOUBT, f"The {name} reaches {outcome.roofline:.1%} of the speed of light: "
                "flops or min_bytes may be too few.",
            )  # fmt: skip
