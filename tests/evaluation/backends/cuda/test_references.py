"""How often the reference is timed beside answers; without a device."""

from __future__ import annotations

import pytest

from triton_gym.evaluation.backends.cuda.bench import KNOWN_REFERENCES, references_wanted


@pytest.mark.parametrize("brief", [False, True])
def test_the_reference_is_timed_until_it_is_known(brief: bool) -> None:
    known = 0
    for _ in range(KNOWN_REFERENCES):
        known = min(KNOWN_REFERENCES, known + references_wanted(known, first=False, brief=brief))
    assert known >= KNOWN_REFERENCES // 2
    assert references_wanted(known, first=False, brief=brief) == 0


def test_every_evaluation_renews_some_of_it() -> None:
    assert references_wanted(KNOWN_REFERENCES, first=True, brief=False) > 0
    assert references_wanted(KNOWN_REFERENCES, first=True, brief=True) == 0
