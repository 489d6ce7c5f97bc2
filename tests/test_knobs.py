from __future__ import annotations

import pytest

from triton_gym import InvalidOptionError, knobs

SOURCE = (
    'BLOCK = 1024  # a knob\nWARPS: int = 4\nNAME = "µ"; STAGES = 2\n\n\ndef f():\n    BLOCK = 7\n'
)


def test_reads_module_level_integers_only():
    assert knobs.read(SOURCE) == {"BLOCK": 1024, "WARPS": 4, "STAGES": 2}


def test_rendering_changes_values_and_nothing_else():
    changed = knobs.render(SOURCE, {"BLOCK": 2, "STAGES": 30, "WARPS": 16})
    assert knobs.read(changed) == {"BLOCK": 2, "WARPS": 16, "STAGES": 30}
    assert (
        changed.replace("= 2 ", "= 1024 ").replace("= 30", "= 2").replace("= 16", "= 4") == SOURCE
    )


def test_an_unknown_knob_is_an_error_that_lists_the_known():
    with pytest.raises(InvalidOptionError, match="BLOCK, STAGES, WARPS"):
        knobs.render(SOURCE, {"BLOK": 1})
