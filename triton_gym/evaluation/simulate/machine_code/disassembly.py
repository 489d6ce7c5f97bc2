"""Reads what `nvdisasm` prints of a kernel."""

from __future__ import annotations

import dataclasses
import re

from triton_gym.evaluation.simulate.machine_code import encoding
from triton_gym.evaluation.simulate.machine_code.sass import Code, Instruction, classify, code_of
from triton_gym.evaluation.simulate.machine_code.schedule import Slot

_LINE = re.compile(
    r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);"
    r"(?:\s*/\* 0x([0-9a-f]{16}) \*/)?"
)
_HIGH = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/\s*$")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"\((\.L_\w+)\)\s*$")
_DRAIN = "WARPGROUP.DEPBAR.LE"
_LEFT = re.compile(r"0x([0-9a-f]+)")
"""How many products may still be under way after a wait for them."""
_SOURCE = re.compile(r'//## File "[^"]*", line (\d+)')


def parse(text: str) -> Code:
    """The code in a listing by `nvdisasm -c -g -hex`."""
    found: list[tuple[Instruction, str]] = []
    labels: dict[str, int] = {}
    waiting: list[str] = []
    line = 0
    for row in text.splitlines():
        if source := _SOURCE.search(row):
            line = int(source[1])
        elif here := _LABEL.match(row):
            waiting.append(here[1])
        elif each := _LINE.match(row):
            address = int(each[1], 16)
            labels.update(dict.fromkeys(waiting, address))
            waiting.clear()
            target = _TARGET.search(each[4]) if each[3].startswith("BRA") else None
            shared = classify(each[3]) in ("load_shared", "store_shared")
            place = encoding.place(int(each[5], 16)) if shared and each[5] else None
            name = each[3]
            if name == _DRAIN and (left := _LEFT.search(each[4])):
                name = f"{name}.{int(left[1], 16)}"
            instruction = Instruction(address, bool(each[2]), name, line, place=place)
            found.append((instruction, target[1] if target else ""))
        elif (high := _HIGH.match(row)) and found:
            last, goal = found[-1]
            found[-1] = (dataclasses.replace(last, slot=Slot.of(int(high[1], 16))), goal)
    return code_of(
        [dataclasses.replace(each, goal=labels[goal]) if goal else each for each, goal in found]
    )
