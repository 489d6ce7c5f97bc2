"""NumPy stand-ins for CUDA's libdevice functions, which the interpreter cannot call."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from triton_gym.evaluation.simulate.interpreter.error_function import erf, erfc
from triton_gym.evaluation.simulate.interpreter.formats import Array


def _by_torch(name: str) -> Callable[[Array], Array]:
    """A rare function by PyTorch, which takes seconds to import: interpreters do without it."""

    def apply(data: Array) -> Array:
        import torch

        result = getattr(torch.special, name)(torch.from_numpy(np.array(data))).numpy()
        return np.asarray(result, dtype=data.dtype)

    return apply


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in (
            "exp",
            "exp2",
            "expm1",
            "log2",
            "log10",
            "log1p",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "floor",
            "ceil",
            "trunc",
            "rint",
            "sqrt",
            "cbrt",
            "hypot",
            "fmod",
            "copysign",
            "nextafter",
            "ldexp",
            "abs",
        )
    },
    **{"log": np.log, "pow": np.power, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan},
    **{"asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "atan2": np.arctan2},
    **{"isnan": np.isnan, "isinf": np.isinf, "finitef": np.isfinite, "signbit": np.signbit},
    **{"min": np.minimum, "max": np.maximum, "nearbyint": np.rint, "fabs": np.abs},
    "round": lambda x: np.copysign(np.floor(np.abs(x) + x.dtype.type(0.5)), x),
    "llrint": lambda x: np.rint(x).astype(np.int64),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "fdim": lambda x, y: np.maximum(x - y, 0),
    "fma": lambda x, y, z: x * y + z,
    "exp10": lambda x: np.power(x.dtype.type(10), x),
    "sinpi": lambda x: np.sin(np.pi * x.astype(np.float64)).astype(x.dtype),
    "cospi": lambda x: np.cos(np.pi * x.astype(np.float64)).astype(x.dtype),
    "erf": erf,
    "erfc": erfc,
    "erfinv": _by_torch("erfinv"),
    "lgamma": _by_torch("gammaln"),
    "j0": _by_torch("bessel_j0"),
    "j1": _by_torch("bessel_j1"),
    "normcdf": lambda x: 0.5 * erfc(-x * x.dtype.type(math.sqrt(0.5))),
    "fast_expf": np.exp,
    "fast_exp10f": lambda x: np.power(x.dtype.type(10), x),
    "fast_logf": np.log,
    "fast_log2f": np.log2,
    "fast_log10f": np.log10,
    "fast_sinf": np.sin,
    "fast_cosf": np.cos,
    "fast_tanf": np.tan,
    "fast_tanhf": np.tanh,
    "fast_powf": np.power,
    "fast_dividef": np.divide,
    "div_rn": np.divide,
    "rcp_rn": np.reciprocal,
    "sqrt_rn": np.sqrt,
    "fma_rn": lambda x, y, z: x * y + z,
}
_MODULES = ("triton.language.extra.libdevice", "triton.language.extra.cuda.libdevice")


def install(scope: dict[str, Any], wrap: Callable[[Callable[..., Any]], Any]) -> None:
    """Replace the libdevice functions that a module's globals reach by stand-ins.

    Args:
        scope: the globals of a kernel; names imported from libdevice are replaced in it.
        wrap: makes a function of Triton tensors from one of arrays.
    """
    import importlib

    for path in _MODULES:
        module = importlib.import_module(path)
        for name, function in FUNCTIONS.items():
            if isinstance(getattr(module, name, None), FunctionType) and not hasattr(
                getattr(module, name), "stands_in"
            ):
                setattr(module, name, wrap(function))
    for key, value in list(scope.items()):
        if isinstance(value, FunctionType) and value.__module__ in _MODULES:
            if value.__name__ in FUNCTIONS and not hasattr(value, "stands_in"):
                scope[key] = wrap(FUNCTIONS[value.__name__])
