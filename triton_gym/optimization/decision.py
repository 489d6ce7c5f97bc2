"""When a candidate has shown that it is faster: a test that may be looked at after every pair.

A pair is one call of the candidate beside one of what runs now, in random order. Under the
hypothesis that the candidate is no faster it wins a pair with a chance of one half at most (ties
lose). Against it stands the uniform mixture of all chances p in (1/2, 1]; the likelihood ratio

    E(n, s) = 2 ∫ p^s (1 - p)^(n - s) dp · 2^n = Σ_{j ≤ s} C(n + 1, j) / ((n + 1) C(n, s))

after s wins in n pairs is a test supermartingale (Howard and Ramdas, Bernoulli 28(3), 2022): the
chance that it ever reaches 1/α is at most α, however often and for whatever reason one looks
(Ville's inequality). The sum on the right is the integral in closed form: the tail of a beta
distribution is that of a binomial one.

The k-th candidate of a function has α_k = 6 α / (π² k²). These sum to α, so of any number of
candidates that are no faster one is taken with a chance of α at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

ALPHA = 0.05
"""Chance that any candidate that is no faster is ever taken, over all of one function's."""
MOST_PAIRS = 60
"""Pairs after which a candidate is given up: the gain is too small to show."""


def evalue(pairs: int, wins: int) -> Fraction:
    """How often likelier the mixture makes these wins than chances of one half do.

    Raises:
        ValueError: the numbers contradict each other.
    """
    if not 0 <= wins <= pairs:
        raise ValueError(f"{wins} wins of {pairs} pairs cannot be.")
    tail = sum(math.comb(pairs + 1, j) for j in range(wins + 1))
    return Fraction(tail, (pairs + 1) * math.comb(pairs, wins))


def level(number: int, alpha: float = ALPHA) -> float:
    """The share of `alpha` that the candidate of a number has.

    Args:
        number: 1 for the first candidate of a function, 2 for the next, …
        alpha: for all of them.
    """
    if number < 1 or not 0 < alpha < 1:
        raise ValueError(f"number must be 1 or more, alpha between 0 and 1; got {number}, {alpha}.")
    return 6 * alpha / (math.pi * number) ** 2


@dataclass(slots=True)
class Decision:
    """The test of one candidate, pair by pair."""

    number: int
    """Which candidate of its function it is, from 1."""
    alpha: float = ALPHA
    """For all candidates of the function."""
    most: int = MOST_PAIRS
    """Pairs after which it is given up."""
    pairs: int = 0
    wins: int = 0

    def add(self, win: bool) -> None:
        """Take a pair in. A tie is no win."""
        self.pairs += 1
        self.wins += bool(win)

    @property
    def evalue(self) -> float:
        """See `evalue`."""
        return float(evalue(self.pairs, self.wins))

    @property
    def needed(self) -> float:
        """What `evalue` has to reach."""
        return 1 / level(self.number, self.alpha)

    @property
    def faster(self) -> bool:
        """Whether it has shown that it is faster; asking again and again costs nothing."""
        return self.evalue >= self.needed

    @property
    def over(self) -> bool:
        """Whether no more pairs are worth their time: it has shown it, or it is given up."""
        return self.faster or self.pairs >= self.most or self._hopeless

    @property
    def _hopeless(self) -> bool:
        """Whether not even wins alone would do in the pairs that are left."""
        left = self.most - self.pairs
        return float(evalue(self.most, self.wins + left)) < self.needed
