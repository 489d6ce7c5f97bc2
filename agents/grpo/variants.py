"""The published variants, each a choice of baseline, aggregation and clip range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from triton_gym.errors import unknown

from .advantages import Baseline
from .losses import Aggregation


@dataclass(frozen=True, slots=True)
class Variant:
    """What a name in `VARIANTS` stands for."""

    baseline: Baseline
    aggregation: Aggregation
    clip_low: float
    clip_high: float
    overlong: bool = False
    """Whether long replies are punished softly."""


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        # DeepSeekMath, arXiv 2402.03300.
        "grpo": Variant(Baseline.NORMALISED, Aggregation.SEQUENCE, 0.2, 0.2),
        # Dr. GRPO, arXiv 2503.20783: no division by deviation or length.
        "dr_grpo": Variant(Baseline.CENTRED, Aggregation.CONSTANT, 0.2, 0.2),
        # DAPO, arXiv 2503.14476: token loss, clip-higher, overlong shaping.
        "dapo": Variant(Baseline.NORMALISED, Aggregation.TOKEN, 0.2, 0.28, overlong=True),
        # Dr. Kernel's TRLOO, arXiv 2602.05885: leave-one-out at each turn, clip .2/.28.
        "leave_one_out": Variant(Baseline.LEAVE_ONE_OUT, Aggregation.TOKEN, 0.2, 0.28),
    }
)


def variant_named(name: str) -> Variant:
    """A variant by its name.

    Raises:
        InvalidOptionError: there is none.
    """
    if name not in VARIANTS:
        raise unknown("variant", name, VARIANTS)
    return VARIANTS[name]
