"""Machine code read from its bits, beside what `nvdisasm` says of it."""

from __future__ import annotations

import struct

import kernels
import pytest
import torch
from launching import Interpreted
from triton.tools.tensor_descriptor import TensorDescriptor

from triton_gym.evaluation.simulate.machine_code import binary as tools
from triton_gym.evaluation.simulate.machine_code import opcodes
from triton_gym.evaluation.simulate.machine_code.cubin import UnknownCode, read_cubin
from triton_gym.evaluation.simulate.machine_code.listing import read_listing
from triton_gym.evaluation.simulate.machine_code.sass import code_of


def square(dtype: torch.dtype, size: int = 512) -> torch.Tensor:
    return torch.zeros(size, size, dtype=dtype)


def copied(x: torch.Tensor) -> bytes:
    return Interpreted(kernels.copy_kernel).cubin(
        x, torch.zeros(20_000), x.numel(), 2.0, BLOCK=1024
    )


def multiplied(a: torch.Tensor, block: int = 128, step: int = 64, stages: int = 3) -> bytes:
    tiles = [TensorDescriptor.from_tensor(a, list(t)) for t in
             ((block, step), (step, block), (block, block))]  # fmt: skip
    kernel = Interpreted(kernels.matmul_kernel)
    return kernel.cubin(*tiles, 512, BLOCK=block, STEP=step, num_stages=stages, num_warps=4)


def product(a: torch.Tensor, block: int, warps: int) -> bytes:
    kernel = Interpreted(kernels.product_kernel)
    return kernel.cubin(a, torch.empty_like(a), 512, BLOCK=block, STEP=32, num_warps=warps)


def softmax(x: torch.Tensor) -> bytes:
    return Interpreted(kernels.softmax_kernel).cubin(x, torch.empty_like(x), 512, BLOCK=256)


def waves() -> bytes:
    x = torch.zeros(10_000)
    return Interpreted(kernels.waves_kernel).cubin(x, x, 10_000, BLOCK=1024)


CALLS = {
    "copy": lambda: copied(torch.zeros(10_000)),
    "unaligned": lambda: copied(torch.zeros(10_001)[1:]),
    "bulk copies and wgmma": lambda: multiplied(square(torch.bfloat16)),
    "one stage": lambda: multiplied(square(torch.bfloat16), 64, 64, 1),
    "softmax fp32": lambda: softmax(square(torch.float32)),
    "softmax bf16": lambda: softmax(square(torch.bfloat16)),
    "mma and copies ahead": lambda: product(square(torch.float16), 32, 2),
    "wgmma on pointers": lambda: product(square(torch.float16), 128, 4),
    "tf32": lambda: product(square(torch.float32), 64, 4),
    "waves": waves,
    "spilled": lambda: product(square(torch.float32), 128, 1),
}


@pytest.fixture(scope="module")
def cubins():
    """The binary of each call."""
    return {name: [call()] for name, call in CALLS.items()}


@pytest.mark.parametrize("name", CALLS)
def test_bits_say_what_nvdisasm_says(cubins, name):
    for cubin in cubins[name]:
        assert code_of(read_listing(cubin)) == tools.disassembled(cubin)


def test_alignment_decides_the_width_of_accesses(cubins):
    wide, narrow = (tools.read_code(cubins[name][0]) for name in ("copy", "unaligned"))
    assert (wide.load_width, narrow.load_width) == (16, 4)


def test_matrix_products_use_wgmma_and_bulk_copies(cubins):
    code = tools.read_code(cubins["bulk copies and wgmma"][0])
    assert code.mma.startswith("HGMMA.64x128x16")
    loop = next(r for r in code.regions if r.kind == "loop" and r.mma_flops)
    assert loop.mma_flops * 4 == 2 * 128 * 128 * 64
    assert sum(flops for _, _, flops in loop.products) == loop.mma_flops
    assert loop.counts["tma_load"] == 2


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
        with pytest.raises(UnknownCode):
            read_listing(binary)
