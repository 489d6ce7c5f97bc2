"""What a GRPO run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from triton_gym.errors import InvalidOptionError, unknown

from ..policy.settings import PolicySettings, SamplingSettings
from ..training.settings import OptimizerSettings, RunSettings
from .advantages import Baseline
from .losses import Aggregation, Correction
from .variants import Variant, variant_named


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """In what environments the policy acts, and how often."""

    envs: tuple[str, ...] = ("TritonKernel-composed-v0",)
    """Ids; each group's is drawn from these. One may carry arguments of its own, as in
    `TritonKernel-composed-v0?action_mode=edit&kind=rows`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the ids, e.g. `split`, `difficulty`, `action_mode`."""
    reward: str = "kevin"
    """A name in `triton_gym.reward.REWARDS`, or `module:function` over an `Outcome`."""
    groups: int = 8
    """Tasks a step."""
    replies: int = 8
    """Episodes of each task; they are each other's baseline."""
    turns: int = 1
    """Replies of an episode: each sees what became of the one before it."""
    gamma: float = 0.4
    """Discount from a turn to the one before it."""
    credit_unchanged: bool = False
    """Whether a reply earns the reward of the kernel that it was shown and left as it was, but for
    names and comments. It is the safest of edits, and would soon be the commonest."""
    parts: int = 2
    """A step's episodes are sampled in so many parts: one is evaluated while the next is sampled.
    The last has a quarter of them at most, for it is waited for."""
    attempts: int = 3
    """How often tasks are drawn for a step until enough groups have different rewards."""
    least_deviation: float = 0.01
    """Smallest standard deviation of a group's returns that teaches anything."""
    device: str = "auto"
    """Where answers are evaluated; see `triton_gym.evaluation.backends.resolve`."""
    workers: int = 8
    """Evaluations at the same time."""
    seconds: float = 60.0
    """Limit of an evaluation; a step waits so long for a reply that hangs. See `Limits`."""
    gpu_seconds: float = 20.0
    """Limit of its parts on the GPU."""

    def __post_init__(self) -> None:
        if not self.envs:
            raise InvalidOptionError("rollout.envs must name at least one environment.")
        if self.replies < 2:
            raise InvalidOptionError(
                f"rollout.replies must be 2 or more, to be compared; got {self.replies}."
            )
        for name in ("groups", "turns", "parts", "attempts", "workers"):
            if getattr(self, name) < 1:
                raise InvalidOptionError(
                    f"rollout.{name} must be 1 or more; got {getattr(self, name)}."
                )
        for name in ("seconds", "gpu_seconds"):
            if getattr(self, name) <= 0:
                raise InvalidOptionError(
                    f"rollout.{name} must be above 0; got {getattr(self, name)}."
                )
        if not 0 <= self.gamma <= 1:
            raise InvalidOptionError(f"rollout.gamma must be from 0 to 1; got {self.gamma}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSettings:
    """What is descended."""

    variant: str = "dapo"
    """`grpo`, `dr_grpo`, `dapo` or `leave_one_out`; decides what is not given below."""
    baseline: str | None = None
    """`normalised`, `centred` or `leave_one_out`."""
    aggregation: str | None = None
    """`sequence`, `token` or `constant`."""
    clip_low: float | None = None
    clip_high: float | None = None
    overlong_margin: int | None = None
    """Tokens over which long replies are punished; under `dapo` a fifth of the longest."""
    beta: float = 0.0
    """Weight of the divergence from the policy that the run started from; 0 keeps no reference."""
    correction: str = "truncate"
    """For tokens that sampler and trainer find differently likely: `none`, `truncate`, `mask`."""
    correction_limit: float = 2.0
    updates: int = 1
    """Optimizer steps on each batch of replies, each on another part of it."""

    def __post_init__(self) -> None:
        variant_named(self.variant)
        for name, kind in (("baseline", Baseline), ("aggregation", Aggregation)):
            given = getattr(self, name)
            if given is not None and given not in list(kind):
                raise unknown(f"objective.{name}", given, list(kind))
        if self.correction not in list(Correction):
            raise unknown("objective.correction", self.correction, list(Correction))
        if self.correction_limit < 1 or self.updates < 1 or self.beta < 0:
            raise InvalidOptionError(
                "objective.correction_limit and updates must be 1 or more, beta 0 or more; got "
                f"{self.correction_limit}, {self.updates} and {self.beta}."
            )

    def resolved(self) -> Variant:
        """The variant, with what was given in place of its own."""
        base = variant_named(self.variant)
        return Variant(
            baseline=Baseline(self.baseline or base.baseline),
            aggregation=Aggregation(self.aggregation or base.aggregation),
            clip_low=base.clip_low if self.clip_low is None else self.clip_low,
            clip_high=base.clip_high if self.clip_high is None else self.clip_high,
            overlong=base.overlong,
        )

    def margin(self, longest: int) -> int:
        """Tokens over which long replies are punished; DAPO has 4096 of 20480."""
        if self.overlong_margin is not None:
            return self.overlong_margin
        return longest // 5 if variant_named(self.variant).overlong else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutSettings:
    """What the policy is examined on while it is trained."""

    every: int = 0
    """Steps between examinations; 0 for none. `checkpoints/best` is the policy with the highest
    mean reward, so tasks that are to tell afterwards how good it is should be others."""
    envs: tuple[str, ...] = ("TritonKernel-composed-v0",)
    options: dict[str, Any] = field(default_factory=lambda: {"split": "test"})
    tasks: int = 32
    """Tasks, drawn from the environments in turn with seeds 0, 1, …"""
    tries: int = 1
    """Episodes of each."""
    temperature: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOSettings:
    """A whole run: the sections of its config file."""

    policy: PolicySettings = field(default_factory=PolicySettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    held_out: HeldOutSettings = field(default_factory=HeldOutSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(out="runs/grpo"))

    def __post_init__(self) -> None:
        if self.sampling.temperature <= 0:
            raise InvalidOptionError("GRPO explores: sampling.temperature must be above 0.")
