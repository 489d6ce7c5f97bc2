"""The options that an answer may compile its kernels with.

They come from the process that runs the answer. What would name a file, pass words to ptxas, or
build for another device is refused; what Triton itself sets is set here anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

MOST_WARPS = 64
MOST_CTAS = 16
"""Programs of a cluster; more than 8 is what CUDA calls non-portable."""
MOST_STAGES = 64
MOST_REGISTERS = 255
PRECISIONS = ("tf32", "tf32x3", "ieee", "bf16x3", "bf16x6")
_FLAGS = frozenset(
    (
        "enable_fp_fusion", "sched4reg", "enable_reflect_ftz", "launch_cooperative_grid",
        "launch_pdl", "clc", "debug", "sanitize_overflow",
    )
)  # fmt: skip
_OWN = frozenset(
    (
        "arch", "backend_name", "warp_size", "supported_fp8_dtypes", "allowed_dot_input_precisions",
        "deprecated_fp8_dot_operand_dtypes", "max_num_imprecise_acc_default", "extern_libs",
    )
)  # fmt: skip
"""What Triton derives from the device. A value that differs from Triton's own is refused."""


class InvalidOption(ValueError):
    """An option of a kernel that is not known or not allowed."""


def allowed_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `given` that are the answer's to choose, with their types and ranges checked.

    Args:
        given: fields of Triton's `CUDAOptions`; of those that have a default, some may lack.

    Raises:
        InvalidOption: one has a value that is not allowed.
    """
    chosen = {}
    for name, value in given.items():
        if name in _OWN or value is None:
            continue
        if name in _FLAGS:
            if not isinstance(value, bool):
                raise InvalidOption(f"{name} must be True or False; got {value!r:.80}.")
        elif name in _CHECKS:
            _CHECKS[name](name, value)
        elif value not in ("", False):
            raise InvalidOption(
                f"The option {name} is not allowed; allowed are "
                f"{', '.join(sorted({*_FLAGS, *_CHECKS}))}."
            )
        else:
            continue
        chosen[name] = value
    return chosen


def check_derived(given: Mapping[str, Any], derived: Mapping[str, Any]) -> None:
    """See that what Triton derives from the device is in `given` as Triton has it.

    Raises:
        InvalidOption: an answer has chosen it.
    """
    for name in _OWN & given.keys() & derived.keys():
        if given[name] is not None and _plain(given[name]) != _plain(derived[name]):
            raise InvalidOption(
                f"The option {name} is the device's: {derived[name]!r:.200} is allowed, not "
                f"{given[name]!r:.200}."
            )


def _plain(value: Any) -> Any:
    """A value as JSON would give it back, with paths resolved."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.realpath(value)
    return value


def _within(least: int, most: int, *, power: bool = False) -> Any:
    def check(name: str, value: Any) -> None:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        if not fits or (power and value & (value - 1)):
            kind = "a power of two" if power else "an integer"
            raise InvalidOption(f"{name} must be {kind} from {least} to {most}; got {value!r:.80}.")

    return check


def _precision(name: str, value: Any) -> None:
    if value not in PRECISIONS:
        raise InvalidOption(f"{name} must be one of {', '.join(PRECISIONS)}; got {value!r:.80}.")


_CHECKS = {
    "num_warps": _within(1, MOST_WARPS, power=True),
    "num_ctas": _within(1, MOST_CTAS, power=True),
    "num_stages": _within(0, MOST_STAGES),
    "maxnreg": _within(1, MOST_REGISTERS),
    "default_dot_input_precision": _precision,
}
