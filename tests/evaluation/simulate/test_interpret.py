"""The repaired interpreter: bf16, casts, dots, reductions, bounds and host code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = Path(__file__).with_name("interpreted.py").read_text()
CHECKS = [name for name in re.findall(r"^def (check_\w+)", TEXT, re.M) if "_trace_" not in name]


@pytest.mark.parametrize("check", CHECKS)
def test_interpreter(interpreted, check):
    assert not interpreted[check], interpreted[check]
