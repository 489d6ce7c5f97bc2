"""The error function of arrays.

Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
Computation 23(107), 1969, with the coefficients of his `CALERF` (netlib, specfun). They are good to
the last digits of a float64.
"""

from __future__ import annotations

import math

import numpy as np

from triton_gym.evaluation.simulate.interpreter.formats import Array

_SMALL, _MIDDLE = 0.46875, 4.0
"""Where one approximation ends and the next begins."""
_A = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3,
)  # fmt: skip
_B = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
    2.84423683343917062e3,
)  # fmt: skip
_C = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
    1.23033935479799725e3,
)  # fmt: skip
_D = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
    1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
    1.23033935480374942e3,
)  # fmt: skip
_P = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
    1.60837851487422766e-2, 6.58749161529837803e-4,
)  # fmt: skip
_Q = (
    1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
    6.05183413124413191e-2, 2.33520497626869185e-3,
)  # fmt: skip


def erf(values: Array) -> Array:
    """The error function, in the dtype of floating-point values."""
    x = values.astype(np.float64)
    size = np.abs(x)
    small = size <= _SMALL
    found = np.empty_like(x)
    found[small] = _small(x[small])
    rest = ~small
    found[rest] = np.copysign(1.0 - _tail(size[rest]), x[rest])
    return np.asarray(found.astype(values.dtype))


def erfc(values: Array) -> Array:
    """One minus the error function, exact where that is tiny."""
    x = values.astype(np.float64)
    size = np.abs(x)
    small = size <= _SMALL
    found = np.empty_like(x)
    found[small] = 1.0 - _small(x[small])
    rest = ~small
    tail = _tail(size[rest])
    found[rest] = np.where(x[rest] < 0, 2.0 - tail, tail)
    return np.asarray(found.astype(values.dtype))


def _small(x: Array) -> Array:
    """The error function near zero."""
    square = x * x
    return np.asarray(x * _ratio(_A, _B, square))


def _tail(size: Array) -> Array:
    """One minus the error function of numbers above `_SMALL`; NaN of NaN."""
    with np.errstate(all="ignore"):
        middle = _ratio(_C, _D, size)
        inverse = 1.0 / (size * size)
        far = (1.0 / math.sqrt(math.pi) - inverse * _ratio(_P, _Q, inverse)) / size
        # exp(-x²) of a rounded x² would lose digits: x is split, as Cody does.
        whole = np.trunc(size * 16.0) / 16.0
        scale = np.exp(-whole * whole) * np.exp(-(size - whole) * (size + whole))
        found = scale * np.where(size <= _MIDDLE, middle, far)
    return np.where(np.isinf(size), 0.0, found)


def _ratio(above: tuple[float, ...], below: tuple[float, ...], x: Array) -> Array:
    """A ratio of polynomials, highest power first."""
    return np.asarray(np.polyval(above, x) / np.polyval(below, x))
