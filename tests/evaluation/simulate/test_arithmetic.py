"""What Triton's own IR tells of loops that are unrolled and blocks laid across."""

from __future__ import annotations

from triton_gym.evaluation.simulate.machine_code.arithmetic import (
    buffers_of,
    float_instructions,
    lays_across,
    meeting_banks,
    repeated_products,
)

TEXT = """
#blocked = #ttg.blocked<{sizePerThread = [4], threadsPerWarp = [32], order = [0]}>
#wide = #ttg.blocked<{sizePerThread = [1, 4], threadsPerWarp = [2, 16], order = [1, 0]}>
#shared = #ttg.nvmma_shared<{swizzlingByteWidth = 128, transposed = SIDE, elementBitWidth = 32}>
    %i = tt.load %p : tensor<1024x!tt.ptr<i32>, #blocked> loc(#loc1)
    %q = tt.addptr %x, %i : tensor<1024x!tt.ptr<f32>, #blocked>, tensor<1024xi32> loc(#loc2)
    %v = tt.load %q : tensor<1024x!tt.ptr<f32>, #blocked> loc(#loc2)
    %a = arith.mulf %v, %v : tensor<1024xf32, #blocked> loc(#loc3)
    %b = arith.addf %a, %v : tensor<1024xf32, #blocked> loc(#loc3)
    %c = arith.subf %b, %v : tensor<1024xf32, #blocked> loc(#loc3)
    %d = math.sin %c : tensor<1024xf32, #blocked> loc(#loc4)
    %e = arith.addf %d, %v : tensor<1024xf32, #blocked> loc(#loc4)
    %f = ttg.async_copy_global_to_local %r, %s : tensor<64x64x!tt.ptr<f32>, #wide> -> <64x64xf32, #shared, #smem, mutable> loc(#loc2)
#loc1 = loc("/tmp/answer.py":5:8)
#loc2 = loc("/tmp/answer.py":6:8)
#loc3 = loc("/tmp/answer.py":7:8)
#loc4 = loc("/tmp/answer.py":8:8)
"""


def test_a_product_and_its_sum_are_one_instruction_and_sines_are_left_out():
    # Eight values a thread: a fused multiplication and addition, and a subtraction.
    assert float_instructions(TEXT, 4) == ((7, 16.0),)


def test_blocks_are_laid_across_where_columns_become_rows():
    assert lays_across(TEXT.replace("SIDE", "true"))
    assert not lays_across(TEXT.replace("SIDE", "false"))


def test_words_laid_across_meet_in_banks():
    # Sixteen lanes hold four columns each of two rows: every fourth of eight rows of shared memory.
    turned = TEXT.replace("SIDE", "true")
    assert meeting_banks(turned) == 8
    assert meeting_banks(turned.replace("[2, 16]", "[1, 32]").replace("64x64x", "64x128x")) == 16
    # Bytes of two rows lie in one word: lanes of both are served at once.
    assert meeting_banks(turned.replace("tt.ptr<f32>, #wide", "tt.ptr<i8>, #wide")) == 8
    narrow = turned.replace("[2, 16]", "[8, 4]").replace("tt.ptr<f32>, #wide", "tt.ptr<i8>, #wide")
    assert meeting_banks(narrow) == 2
    assert meeting_banks(TEXT.replace("SIDE", "false")) == 0


PRODUCT = """
#mma = #ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [8, 1], instrShape = [16, 32, 16]}>
    %s = ttng.warp_group_dot %q, %k, %z {isAsync = true} : !ttg.memdesc<ROWSx64xf16, #shared, #smem> * !ttg.memdesc<64x32xf16, #shared, #smem> -> tensor<ROWSx32xf32, #mma> loc(#loc1)
#loc1 = loc("/tmp/answer.py":5:8)
"""


def test_warps_beyond_a_tile_compute_it_again():
    assert repeated_products(PRODUCT.replace("ROWS", "64")) == ((5, 2.0),)
    assert repeated_products(PRODUCT.replace("ROWS", "128")) == ()


ALLOC = "%a = ttg.local_alloc : () -> !ttg.memdesc<SHAPE, #shared, #smem, mutable>\n"


def test_buffers_that_loads_go_to_by_turns():
    shapes = (
        "128x128xbf16",
        "1xi64",
        "4x128x64xbf16",
        "3x64x256xbf16",
        "3x1xi64",
        "1x128x128xbf16",
    )
    assert buffers_of("".join(ALLOC.replace("SHAPE", shape) for shape in shapes)) == 3
    assert buffers_of(ALLOC.replace("SHAPE", shapes[0])) == 0
