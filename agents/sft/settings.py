"""What a fine-tuning run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from triton_gym.errors import InvalidOptionError

from ..grpo.settings import HeldOutSettings
from ..policy.settings import PolicySettings, SamplingSettings
from ..training.settings import OptimizerSettings, RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesSettings:
    """What is learned from."""

    train: tuple[str, ...] = ("runs/data/train.parquet",)
    """`.parquet` or `.jsonl` files with a column `messages`, as `triton-gym train data` writes
    them."""
    test: tuple[str, ...] = ()
    """Held-out examples, for the held-out loss; none unless given."""
    kinds: tuple[str, ...] = ()
    """Values of the column `kind` that are used; empty for all."""
    limit: int = 0
    """Most examples that are used; 0 for all."""
    length: int = 2048
    """Tokens of a row. Longer examples are left out, and counted."""
    packing: bool = True
    """Put several examples into a row, none of which sees another."""
    batch_tokens: int = 32768
    """Tokens of a step, padding included."""
    epochs: float = 3.0

    def __post_init__(self) -> None:
        if self.length < 16 or self.batch_tokens < self.length or self.epochs <= 0:
            raise InvalidOptionError(
                "examples.length must be 16 or more, examples.batch_tokens at least that, and "
                f"examples.epochs above 0; got {self.length}, {self.batch_tokens} and "
                f"{self.epochs}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTSettings:
    """A whole run: the sections of its config file."""

    policy: PolicySettings = field(default_factory=PolicySettings)
    examples: ExamplesSettings = field(default_factory=ExamplesSettings)
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(lr=5e-4, schedule="cosine", warmup=20)
    )
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """Of the replies in examinations."""
    held_out: HeldOutSettings = field(default_factory=HeldOutSettings)
    """Examinations by execution."""
    run: RunSettings = field(
        default_factory=lambda: RunSettings(out="runs/sft", steps=1_000_000, save_every=50)
    )
    """`steps` ends the run if the epochs have not."""
