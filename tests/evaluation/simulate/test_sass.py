"""Machine code taken apart: classes of instructions, loops, and parts that are skipped."""

from __future__ import annotations

import pytest

from triton_gym.evaluation.simulate.machine_code import disassembly, sass


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


def test_what_waits_for_a_barrier_aside_is_no_loop():
    """The code that polls goes back to right behind the branch that leads to it."""

    def code(jumps):
        return sass.code_of(
            [
                sass.Instruction(16 * i, i in jumps and jumps[i][1],
                                 "BRA" if i in jumps else "FADD", 1,
                                 16 * jumps[i][0] if i in jumps else None)
                for i in range(60)
            ]
        )  # fmt: skip

    # A loop from 10 to 30 within one from 2 to 40 that ends with a branch, not with an exit; at 20
    # it may go to 50, which polls, and comes back from 58.
    outer, inner = {40: (2, False)}, {30: (10, True)}
    found = code({**outer, **inner, 20: (50, True), 58: (21, False)})
    spans = [(r.kind, r.start // 16) for r in found.regions]
    assert spans == [("body", 0), ("loop", 2), ("loop", 10)]
    assert ("loop", 21) in [(r.kind, r.start // 16) for r in code({58: (21, False)}).regions]


def test_lanes_that_a_branch_leaves_out_meet_in_no_bank():
    def conflicts(jumps):
        names = ["FADD", *["BRA", "STS"] * 8, "FADD"] if jumps else ["FADD", *["STS"] * 8, "FADD"]
        listing, stored = [], 0
        for i, name in enumerate(names):
            branch, store = name == "BRA", name == "STS"
            listing.append(
                sass.Instruction(16 * i, branch, name, 1, 16 * (i + 2) if branch else None,
                                 place=(5, 8 * stored) if store else None)
            )  # fmt: skip
            stored += store
        body = sass.code_of(listing).regions[0]
        return body.conflicts, body.splits

    assert conflicts(jumps=False) == (8 * 15, 0)
    assert conflicts(jumps=True) == (0, 8)


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
    body, loop = disassembly.parse("\n".join(listing)).regions
    assert (body.kind, loop.kind, loop.parent) == ("body", "loop", 0)
    assert loop.counts == {"float": 6, "load": 1, "branch": 1}
    assert loop.accesses == (("load", 7, 32 * 16),)
    assert body.store_bytes == 32 * 4
    assert "branch" not in body.counts or body.counts["branch"] == 1  # EXIT; not the padding
