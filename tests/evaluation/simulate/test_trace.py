"""What the trace records of a launch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = Path(__file__).with_name("interpreted.py").read_text()


@pytest.mark.parametrize("check", re.findall(r"^def (check_trace_\w+)", TEXT, re.M))
def test_trace(interpreted, check):
    assert not interpreted[check], interpreted[check]
