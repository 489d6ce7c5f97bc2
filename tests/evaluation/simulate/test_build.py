"""Building for a GPU that is not here, with Triton's own compiler."""

from __future__ import annotations

import json

import pytest
import torch

from triton_gym.device import gpu_named
from triton_gym.evaluation.simulate.machine_code import sass
from triton_gym.evaluation.simulate.machine_code.build import (
    Build,
    BuildError,
    build,
    compile_launches,
)

H100 = gpu_named("h100")


def test_launches_grids_and_resources(kernels):
    first, second = build(lambda: kernels.copy(torch.zeros(10_000)), H100)
    assert (first.kernel, first.index, first.grid, first.num_warps) == (
        "copy_kernel",
        0,
        (10, 1, 1),
        4,
    )
    assert (second.index, second.grid, second.num_warps) == (1, (40, 1, 1), 2)
    assert 8 <= first.registers <= 64
    assert first.spill_bytes == 0
    assert first.code.static("load")
    assert first.code.static("store")


def test_records_survive_json(kernels):
    builds = build(lambda: kernels.copy(torch.zeros(10_000)), H100)
    assert tuple(Build.read(json.loads(json.dumps(b.record()))) for b in builds) == builds


def test_parts_of_the_code_with_equal_ranges_are_nested_in_one_order_only():
    def code(count, jumps):
        return sass.code_of(
            [
                sass.Instruction(16 * i, i in jumps, "BRA" if i in jumps else "FADD", 1,
                                 16 * jumps[i] if i in jumps else None)
                for i in range(count)
            ]
        )  # fmt: skip

    whole = code(20, {19: 0})
    assert [(r.kind, r.parent) for r in whole.regions] == [("body", -1), ("loop", 0)]
    skipped = code(40, {4: 31, 30: 5})  # the loop, from 5 to 30, may be skipped as a whole
    kinds = [(r.kind, r.parent) for r in skipped.regions]
    assert kinds == [("body", -1), ("loop", 0), ("branch", 1)]


def test_alignment_decides_the_width_of_accesses(kernels):
    aligned = build(lambda: kernels.copy(torch.zeros(4096)), H100)[0]
    shifted = build(lambda: kernels.copy(torch.zeros(4097)[1:]), H100)[0]
    assert aligned.code.load_width == 16
    assert shifted.code.load_width == 4


def test_autotuned_alternatives_share_a_launch(kernels):
    builds = build(lambda: kernels.tuned(torch.zeros(4096)), H100)
    assert [b.index for b in builds] == [0, 0, 1]
    assert [b.grid[0] for b in builds] == [16, 8, 1]  # the third configuration does not compile
    assert "BLOCK: 256" in builds[0].config
    assert builds[2].config == ""


def test_alternatives_that_are_named_alike_are_told_apart(kernels):
    builds = build(lambda: kernels.tuned_alike(torch.zeros(4096)), H100)
    assert [b.index for b in builds] == [0, 0]  # of two that are equal, one is enough
    assert builds[0].config != builds[1].config


def test_warmup_tells_resources(kernels):
    (only,) = build(lambda: kernels.persistent(torch.zeros(1 << 20)), H100)
    assert only.grid == (132 * 8, 1, 1)
    assert only.num_warps == 8


def test_matrix_products_use_wgmma_and_tma(kernels):
    (only,) = build(lambda: kernels.matmul(torch.zeros(512, 512, dtype=torch.bfloat16)), H100)
    assert only.code.mma == "HGMMA.64x128x16"
    assert only.code.static("tma_load")
    assert only.code.static("tma_store")
    assert only.shared_bytes > 64 << 10
    loops = [r for r in only.code.regions if r.kind == "loop" and r.mma_flops]
    assert sum(r.mma_flops for r in loops) * only.num_warps == 2 * 128 * 128 * 64


def test_too_much_shared_memory(kernels):
    with pytest.raises(BuildError, match=r"shared memory required \d+, limit 232448. Reduce"):
        build(
            lambda: kernels.matmul(torch.zeros(512, 512, dtype=torch.bfloat16), 128, 128, 5), H100
        )


def test_compile_errors_show_the_kernel(kernels):
    with pytest.raises(BuildError, match="undefined_name"):
        compile_launches(lambda: kernels.broken(torch.zeros(64)), H100)


def test_ptxas_is_limited_in_time(kernels, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with pytest.raises(BuildError, match="ptxas took more than"):
        compile_launches(lambda: kernels.tuned(torch.zeros(5000)), H100, seconds_per_kernel=1e-4)


def test_the_host_is_itself_again_afterwards(kernels):
    compile_launches(lambda: kernels.copy(torch.zeros(64)), H100)
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("LDG.E.128", "load"), ("LDGSTS.E.BYPASS.128", "copy"), ("LDGDEPBAR", "wait"),
        ("STG.E", "store"), ("LDS.128", "load_shared"), ("LDSM.16.M88.4", "matrix_shared"),
        ("HGMMA.64x128x16.F32.BF16", "wgmma"), ("HMMA.16816.F32.BF16", "mma"),
        ("MUFU.EX2", "special"), ("FFMA", "float"), ("IMAD.WIDE", "multiply"),
        ("UTMALDG.2D", "tma_load"), ("BAR.SYNC", "barrier"), ("LDL.64", "spill_load"),
        ("F2FP.BF16.F32.PACK_AB", "logic"), ("F2F.F64.F32", "convert"), ("RED.E.ADD", "atomic"),
    ],
)  # fmt: skip
def test_instruction_classes(name, group):
    assert sass.classify(name) == group


def test_flops_of_matrix_instructions():
    assert sass.mma_flops("HGMMA.64x256x16.F32.BF16") * 4 == 2 * 64 * 256 * 16
    assert sass.mma_flops("HMMA.16816.F32.BF16") == 2 * 16 * 8 * 16


def test_loops_are_found():
    lines = [
        "S2R R0, SR_TID.X", *["FADD R1, R1, R2"] * 3, "LDG.E.128 R4, [R2.64]",
        *["FFMA R1, R1, R2, R3"] * 4, "@P0 BRA `(.L_x_0)", "STG.E [R2.64], R1", "EXIT",
        "BRA `(.L_x_1)",
    ]  # fmt: skip
    listing = []
    for i, text in enumerate(lines):
        listing += {2: [".L_x_0:", '\t//## File "a.py", line 7'], 12: [".L_x_1:"]}.get(i, [])
        listing.append(f"        /*{16 * i:04x}*/                   {text} ;")
    body, loop = sass.parse("\n".join(listing)).regions
    assert (body.kind, loop.kind, loop.parent) == ("body", "loop", 0)
    assert loop.counts == {"float": 6, "load": 1, "branch": 1}
    assert loop.accesses == (("load", 7, 32 * 16),)
    assert body.store_bytes == 32 * 4
    assert "branch" not in body.counts or body.counts["branch"] == 1  # EXIT; not the padding
