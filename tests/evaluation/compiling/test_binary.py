"""Machine code is read from the file, and held to what ptxas makes of a Triton kernel."""

from __future__ import annotations

import random
import struct

import pytest

from triton_gym.evaluation.compiling.artifact import (
    InvalidMetadata,
    Target,
    checked_metadata,
)
from triton_gym.evaluation.compiling.binary import read_binary
from triton_gym.evaluation.compiling.lower import Lowered, lower
from triton_gym.evaluation.compiling.server import _WARM
from triton_gym.evaluation.simulate.machine_code.elf import InvalidBinary


@pytest.fixture(scope="module")
def made() -> Lowered:
    return lower(_WARM, {"num_warps": 4}, Target(90), 60.0)


def test_what_a_cubin_says_of_its_kernel(made):
    binary = read_binary(made.cubin, 90)
    assert binary.name == "warm"
    assert [p.bytes for p in binary.parameters] == [8, 8, 8]  # x, global scratch, profile scratch
    assert [p.offset for p in binary.parameters] == [0, 8, 16]
    assert 0 < binary.registers < 64
    assert not binary.local_bytes
    assert not binary.strings


def test_code_for_another_architecture_is_refused(made):
    with pytest.raises(InvalidBinary, match="sm_90, not for sm_80"):
        read_binary(made.cubin, 80)


def test_ptx_is_no_machine_code(made):
    with pytest.raises(InvalidBinary):
        read_binary(made.texts["ptx"].encode(), 90)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b".nv.constant0.warm\0", b".nv.constant0.warn\0", "no code"),
        (b".nv.constant0.warm\0", b".nv.constant9.warm\0", "0 kernels"),
        (b"\0warm\0", b"\0farm\0", "no symbol"),
        (b"\0.text.warm\0", b"\0.test.warm\0", "no code"),
    ],
)
def test_names_that_do_not_agree(made, before, after, said):
    assert made.cubin.count(before) >= 1
    with pytest.raises(InvalidBinary, match=said):
        read_binary(made.cubin.replace(before, after), 90)


def test_memory_that_could_be_written_is_refused(made):
    at, count = (
        struct.unpack_from("<Q", made.cubin, 40)[0],
        struct.unpack_from("<H", made.cubin, 60),
    )
    forged = bytearray(made.cubin)
    for index in range(count[0]):
        flags = at + index * 64 + 8
        value = struct.unpack_from("<Q", forged, flags)[0]
        if value & 2 and not value & 4:  # allocated, no code
            struct.pack_into("<Q", forged, flags, value | 1)
    with pytest.raises(InvalidBinary, match="memory that can be written"):
        read_binary(bytes(forged), 90)


def test_broken_files_are_refused_or_read_and_nothing_else(made):
    rng = random.Random(0)
    for _ in range(400):
        broken = bytearray(made.cubin[: rng.choice((len(made.cubin), rng.randrange(9000)))])
        for _ in range(rng.randrange(1, 20)):
            if broken:
                broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            binary = read_binary(bytes(broken), 90)
        except InvalidBinary:
            continue
        assert sum(p.bytes for p in binary.parameters) < 1 << 16


@pytest.mark.parametrize(
    "lie",
    [
        {"name": "other"}, {"num_warps": 0}, {"num_warps": True}, {"shared": 1 << 30},
        {"shared": "1"}, {"global_scratch_size": -1}, {"tensordesc_meta": {"a": 1}},
        {"tensordesc_meta": [{"block_size": [1 << 20], "swizzle": 1}]},
        {"tensordesc_meta": [{"block_size": [64, 64], "swizzle": "x"}]},
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_true(made, lie):
    binary = read_binary(made.cubin, 90)
    assert checked_metadata(dict(made.metadata), binary)["num_warps"] == 4
    with pytest.raises(InvalidMetadata):
        checked_metadata({**made.metadata, **lie}, binary)
