"""Machine code read from its bits, beside what `nvdisasm` says of it."""

from __future__ import annotations

import struct

import pytest
import torch

from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.machine_code import binary as tools
from triton_gym.evaluation.simulate.machine_code import opcodes
from triton_gym.evaluation.simulate.machine_code.build import compile_launches
from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode, read_cubin
from triton_gym.evaluation.simulate.machine_code.listing import read_listing
from triton_gym.evaluation.simulate.machine_code.sass import code_of
from triton_gym.evaluation.simulate.machine_code.usage import read_usage

H100 = gpu_named("h100")


def square(dtype: torch.dtype, size: int = 512) -> torch.Tensor:
    return torch.zeros(size, size, dtype=dtype)


CALLS = {
    "copy": lambda answers: answers.copy(torch.zeros(10_000)),
    "unaligned": lambda answers: answers.copy(torch.zeros(10_001)[1:]),
    "tuned": lambda answers: answers.tuned(torch.zeros(4096)),
    "bulk copies and wgmma": lambda answers: answers.matmul(square(torch.bfloat16)),
    "one stage": lambda answers: answers.matmul(square(torch.bfloat16), 64, 64, 1),
    "softmax fp32": lambda answers: answers.softmax(square(torch.float32)),
    "softmax bf16": lambda answers: answers.softmax(square(torch.bfloat16)),
    "mma and copies ahead": lambda answers: answers.product(square(torch.float16), 32, 2),
    "wgmma on pointers": lambda answers: answers.product(square(torch.float16), 128, 4),
    "tf32": lambda answers: answers.product(square(torch.float32), 64, 4),
    "waves": lambda answers: answers.waves(torch.zeros(10_000)),
    "spilled": lambda answers: answers.product(square(torch.float32), 128, 1),
}


@pytest.fixture(scope="module")
def cubins(kernels):
    """The binaries of each call."""
    return {
        name: list(
            dict.fromkeys(b for _, b in compile_launches(lambda c=call: c(kernels), H100).launches)
        )
        for name, call in CALLS.items()
    }


@pytest.mark.parametrize("name", CALLS)
def test_bits_say_what_nvdisasm_says(cubins, name):
    for cubin in cubins[name]:
        assert code_of(read_listing(cubin)) == tools.disassembled(cubin)


@pytest.mark.parametrize("name", CALLS)
def test_bits_say_what_cuobjdump_says(cubins, name):
    for cubin in cubins[name]:
        assert read_usage(cubin) == tools.dumped_resources(cubin)


def test_the_kernels_have_what_is_told_apart(cubins):
    codes = {name: [code_of(read_listing(c)) for c in found] for name, found in cubins.items()}
    assert codes["spilled"][0].static("spill_load")
    assert codes["mma and copies ahead"][0].mma == "HMMA.16816"
    assert codes["mma and copies ahead"][0].static("copy")
    assert codes["tf32"][0].mma.endswith("x8")
    assert {c.load_width for c in codes["unaligned"]} == {4}
    assert "rare" in {region.kind for region in codes["waves"][0].regions}
    assert any(len(code.regions) > 1 for (code,) in [codes["softmax fp32"]])


def test_what_is_not_known_is_left_to_nvdisasm(cubins, monkeypatch):
    (cubin,) = cubins["softmax fp32"]
    known = tools.read_code(cubin)
    monkeypatch.setattr(opcodes, "NAMES", {})
    monkeypatch.setattr("triton_gym.evaluation.simulate.machine_code.listing.NAMES", {})
    with pytest.raises(UnknownCode, match="instruction 0x"):
        read_listing(cubin)
    assert tools.read_code(cubin) == known


def with_instruction(cubin: bytes, word: int) -> bytes:
    """The same with another first instruction."""
    place = cubin.index(read_cubin(cubin).code)
    return cubin[:place] + word.to_bytes(16, "little") + cubin[place + 16 :]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (0x1FF, "instruction"),
        (0x981 | 15 << 72, "instruction"),  # a width that there is not
        (0x947 | 7 << 12 | 7 << 87 | 1 << 85, "a branch 0x"),  # a modifier of branches
        (0x947 | 7 << 12 | 7 << 87 | 0x3FFF << 60, "leaves its function"),
    ],
)
def test_unknown_instructions_are_not_guessed(cubins, word, said):
    (cubin,) = cubins["softmax fp32"]
    with pytest.raises(UnknownCode, match=said):
        read_listing(with_instruction(cubin, word))


def test_other_files_are_not_guessed(cubins):
    (cubin,) = cubins["softmax fp32"]
    other = bytearray(cubin)
    struct.pack_into("<I", other, 48, struct.unpack_from("<I", cubin, 48)[0] ^ 0x0F)
    for binary in (bytes(other), b"", b"\x7fELF", cubin[:200], cubin[:-4000], b"x" * 5000):
        for read in (read_listing, read_usage):
            with pytest.raises(UnknownCode):
                read(binary)
