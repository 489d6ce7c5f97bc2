"""Tensor descriptors of the host as the driver encodes them; what Triton's `driver.c` does."""

from __future__ import annotations

from typing import Any

from triton_gym.evaluation.backends.cuda.driver import CudaError, check
from triton_gym.evaluation.backends.cuda.packing import TensorMap, Unlaunchable

_HOST_TYPES = {8: 10, 9: 8, 10: 9}
"""Numbers of element types that the compiler and the driver do not agree on."""
_TF32 = 11


def encode_tensor_map(parameter: TensorMap) -> Any:
    """The driver's 128 bytes of a descriptor; the object owns them.

    Raises:
        Unlaunchable: the driver does not take such a descriptor.
    """
    from cuda.bindings import driver as cu

    given, layout = parameter.descriptor, parameter.layout
    if given.strides[-1] != 1:
        raise Unlaunchable("The last stride of a tensor descriptor must be 1.")
    shape = list(given.shape)
    if layout.get("fp4_padded"):
        shape[-1] *= 2
    size, rank = int(layout["elem_size"]), len(shape)
    kind = _TF32 if given.tf32 else int(layout["elem_type"])
    fill = cu.CUtensorMapFloatOOBfill
    common = (
        cu.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        cu.CUtensorMapSwizzle(int(layout["swizzle"])),
        cu.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        fill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA
        if given.nan_padding
        else fill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    start = (cu.CUtensorMapDataType(_HOST_TYPES.get(kind, kind)), rank, given.address)
    dims = [cu.cuuint64_t(n) for n in reversed(shape)]
    strides = [cu.cuuint64_t(n * size) for n in reversed(given.strides[:-1])]
    block = [int(n) for n in layout["block_size"]]
    try:
        if layout.get("is_im2col") and given.im2col is not None:
            return check(
                cu.cuTensorMapEncodeIm2col(
                    *start, dims, strides, list(reversed(given.im2col.lower_corner)),
                    list(reversed(given.im2col.upper_corner)), block[1], block[0],
                    [cu.cuuint32_t(n) for n in reversed(given.im2col.element_strides)], *common,
                )
            )  # fmt: skip
        if len(block) != rank:
            raise Unlaunchable(
                f"A tensor descriptor of {rank} dimensions has a block of {len(block)}."
            )
        box = [cu.cuuint32_t(n) for n in reversed(block)]
        ones = [cu.cuuint32_t(1)] * rank
        return check(cu.cuTensorMapEncodeTiled(*start, dims, strides, box, ones, *common))
    except (CudaError, ValueError) as error:
        raise Unlaunchable(
            f"The driver takes no tensor descriptor with shape {given.shape}, strides "
            f"{given.strides} and block {block}: {error}."
        ) from None
