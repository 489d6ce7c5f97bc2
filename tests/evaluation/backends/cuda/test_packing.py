"""A launch is packed as its machine code expects it, or refused with the reason."""

from __future__ import annotations

import os
import re
import struct
import subprocess

import pytest
import triton

from triton_gym.evaluation.backends.cuda.device import scrubber
from triton_gym.evaluation.backends.cuda.packing import (
    TensorMap,
    Unlaunchable,
    check_local_memory,
    pack_launch,
)
from triton_gym.evaluation.compiling.artifact import Artifact
from triton_gym.evaluation.compiling.binary import Binary, Parameter
from triton_gym.evaluation.plan.step import Descriptor, Launch, Null, Pointer, Scalar

METADATA = {
    "num_warps": 4, "num_ctas": 1, "shared": 2048, "profile_scratch_size": 0,
    "tensordesc_meta": [], "launch_cooperative_grid": False, "launch_pdl": True,
}  # fmt: skip
LAYOUT = {"swizzle": 3, "elem_size": 2, "elem_type": 6, "block_size": [64, 64]}
DESCRIPTOR = Descriptor(0x3000_0000_0000, "fp16", (100, 128), (128, 1), (64, 64), True, False)


def artifact(*sizes: int, local: int = 0, **metadata: object) -> Artifact:
    parameters, end = [], 0
    for size in sizes:
        end = -(-end // min(size, 8)) * min(size, 8)
        parameters.append(Parameter(end, size))
        end += size
    binary = Binary("kernel", 32, local, 0, tuple(parameters), False)
    return Artifact("id", b"", binary, {**METADATA, **metadata}, {})


def launch(*arguments: object, grid: tuple[int, int, int] = (7, 5, 3), scratch: int = 0) -> Launch:
    return Launch(0, grid, arguments, scratch, 11)  # type: ignore[arg-type]


def test_words_are_the_arguments_and_two_scratch_pointers():
    half = struct.unpack("<H", struct.pack("<e", 0.5))[0]
    arguments = (Pointer(0x3000_0000_0200), Null(), Scalar("i32", 2**32 - 1), Scalar("i1", 1),
                 Scalar("bf16", half), Scalar("fp64", 1 << 62))  # fmt: skip
    packed = pack_launch(
        launch(*arguments, scratch=0x3020_0000_0000), artifact(8, 8, 4, 1, 2, 8, 8, 8)
    )
    assert [int.from_bytes(word, "little") for word in packed.words] == [
        0x3000_0000_0200, 0, 2**32 - 1, 1, half, 1 << 62, 0x3020_0000_0000, 0,
    ]  # fmt: skip
    assert (packed.grid, packed.threads, packed.shared_bytes) == ((7, 5, 3), 128, 2048)
    assert packed.pdl
    assert not packed.cooperative


def test_clusters_multiply_the_first_axis():
    packed = pack_launch(launch(), artifact(8, 8, num_ctas=4))
    assert (packed.grid, packed.cluster) == ((28, 5, 3), 4)
    with pytest.raises(Unlaunchable, match="too large"):
        pack_launch(launch(grid=(2**31 - 1, 1, 1)), artifact(8, 8, num_ctas=2))


def test_a_descriptor_for_the_tensor_memory_unit():
    code = artifact(128, 4, 4, 8, 8, 8, 8, tensordesc_meta=[LAYOUT])
    packed = pack_launch(launch(DESCRIPTOR), code)
    assert packed.words[0] == TensorMap(DESCRIPTOR, LAYOUT)
    assert [int.from_bytes(w, "little") for w in packed.words[1:5]] == [100, 128, 128, 1]


@pytest.mark.parametrize("flags", [1, 2])
def test_a_descriptor_as_pointer_and_numbers_in_both_versions_of_triton(flags):
    sizes = (8, 8, 8, 8, 8, *(1,) * flags, 4, 4, 8, 8, 8, 8)
    packed = pack_launch(launch(DESCRIPTOR), artifact(*sizes))
    assert [len(word) for word in packed.words] == list(sizes)
    assert packed.words[5] == b"\1"


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [((Pointer(8),), (4, 8, 8)), ((), (8, 8, 8)), ((Pointer(8),), (8, 8)), ((DESCRIPTOR,), (8,))],
)
def test_arguments_that_the_code_does_not_take(arguments, sizes):
    with pytest.raises(Unlaunchable, match="takes parameters of"):
        pack_launch(launch(*arguments), artifact(*sizes))


def test_what_a_device_cannot_do():
    for metadata, said in (
        ({"num_warps": 64}, "2048 threads"),
        ({"profile_scratch_size": 8}, "profiling"),
        ({"tensordesc_meta": [LAYOUT]}, "0 tensor descriptors"),
    ):
        with pytest.raises(Unlaunchable, match=said):
            pack_launch(launch(), artifact(8, 8, **metadata))
    check_local_memory(artifact(8, 8, local=4096), 132, 2048)
    with pytest.raises(Unlaunchable, match="local memory"):
        check_local_memory(artifact(8, 8, local=1 << 19), 132, 2048)


def test_the_scrubber_takes_all_registers(tmp_path):
    path = tmp_path / "scrub.ptx"
    path.write_text(scrubber())
    command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90", path, "-o", os.devnull]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert 56 < int(re.search(r"Used (\d+) registers", told)[1]) <= 64
    assert "0 bytes spill stores" in told
