"""Plain tensors on a CUDA device that is not there: everything but contents.

A DLPack capsule gives a real `torch.Tensor` with any device address: its type, device, pointer and
strides are those that Triton and host code would see on a GPU. Nobody may touch what it points to,
so operators on such tensors go to a dispatch mode (`dispatch.py`) and never to a kernel.

PyTorch's C++ asks a table of device guards which device is current, and a build without CUDA has
none for it: `install` puts a guard there whose answer is always `cuda:0`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

CUDA = torch.device("cuda", 0)
_DEVICE_TYPES = 24
_CUDA_TYPE, _META_TYPE = 1, 14
_DLPACK_CUDA = 2
_CODES = {
    torch.float32: (2, 32), torch.float16: (2, 16), torch.bfloat16: (4, 16),
    torch.float64: (2, 64), torch.int8: (0, 8), torch.int16: (0, 16), torch.int32: (0, 32),
    torch.int64: (0, 64), torch.uint8: (1, 8), torch.uint16: (1, 16), torch.uint32: (1, 32),
    torch.uint64: (1, 64), torch.bool: (6, 8), torch.complex64: (5, 64), torch.complex128: (5, 128),
    torch.float8_e4m3fn: (10, 8), torch.float8_e4m3fnuz: (11, 8), torch.float8_e5m2: (12, 8),
    torch.float8_e5m2fnuz: (13, 8), torch.float8_e8m0fnu: (14, 8),
}  # fmt: skip
"""DLPack's codes and bits of PyTorch's dtypes."""


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device", _Device), ("dimensions", ctypes.c_int32),
        ("type", _Type), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    pass


_Managed._fields_ = (
    ("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
)  # fmt: skip


class _Hold(np.ndarray[Any, Any]):
    """Held by a stand-in's storage for as long as that lives.

    NumPy lets go of it in C, and Python's finalizers keep an exception that is on its way:
    a callback of our own would run while the answer's exception unwinds, and lose it.
    """

    parts: tuple[Any, ...]
    released: Callable[[], None] | None = None

    def __del__(self) -> None:
        if self.released is not None:
            self.released()


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = (ctypes.py_object, ctypes.c_char_p)
_CPU_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_as_strided = torch.ops.aten.as_strided.default


def tensor(
    address: int,
    dtype: torch.dtype,
    size: Sequence[int],
    stride: Sequence[int],
    released: Callable[[], None],
) -> torch.Tensor:
    """A tensor at the start of a storage of its own, which is as large as it needs.

    Args:
        address: of the first element.
        dtype: of the elements.
        size, stride: in elements.
        released: called when the storage is gone.
    """
    code, bits = _CODES[dtype]
    count = len(size)
    shape = (ctypes.c_int64 * max(count, 1))(*size)
    strides = (ctypes.c_int64 * max(count, 1))(*stride)
    hold = np.empty(1, np.uint8).view(_Hold)
    capsule = hold.__dlpack__()
    managed = _Managed.from_address(_pointer_of(capsule, b"dltensor"))
    managed.tensor = _Tensor(
        address, _Device(_DLPACK_CUDA, 0), count, _Type(code, bits, 1), shape, strides, 0
    )
    hold.parts, hold.released = (shape, strides), released
    made: torch.Tensor = torch._C._from_dlpack(capsule)
    return made


def restrided(
    source: torch.Tensor, size: Sequence[int], stride: Sequence[int], offset: int | torch.SymInt
) -> torch.Tensor:
    """Another view of a stand-in's storage; it is never looked at."""
    made: torch.Tensor = _as_strided.redispatch(_CPU_KEYS, source, size, stride, offset)
    return made


def dtype_is_known(dtype: torch.dtype) -> bool:
    """Whether stand-ins of a dtype can be made."""
    return dtype in _CODES


_kept: list[Any] = []
"""The guard's memory, which PyTorch points to for as long as the process lives."""


def install() -> None:
    """Make PyTorch's C++ believe in one CUDA device, without starting CUDA.

    Raises:
        RuntimeError: this version of PyTorch keeps its guards in another way.
    """
    if _kept:
        return
    library = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so"))
    registry = (ctypes.c_void_p * _DEVICE_TYPES).in_dll(
        library, "_ZN3c104impl26device_guard_impl_registryE"
    )
    meta = registry[_META_TYPE]
    if not meta:
        raise RuntimeError(f"PyTorch {torch.__version__} has no device guard for meta tensors.")
    registry[_CUDA_TYPE] = _guard_like(meta)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device="cuda") meets the mode


def _guard_like(meta: int) -> int:
    """A copy of the guard of meta tensors, which does nothing, for `cuda:0`.

    Its class has no members; its first virtual functions are `type`, `exchangeDevice` and
    `getDevice`. A `c10::Device` travels as two bytes: type, index.
    """
    kind = ctypes.CFUNCTYPE(ctypes.c_int8, ctypes.c_void_p)
    exchange = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p, ctypes.c_uint16)
    current = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p)
    header, functions = 2, 32
    table = ctypes.c_void_p.from_address(meta).value or 0
    word = ctypes.sizeof(ctypes.c_void_p)
    size = header + functions
    copied = (ctypes.c_void_p * size)(*(ctypes.c_void_p * size).from_address(table - header * word))
    found = kind(copied[header] or 0)(meta), current(copied[header + 2] or 0)(meta) & 0xFF
    if found != (_META_TYPE, _META_TYPE):
        raise RuntimeError(f"PyTorch {torch.__version__} orders its device guards differently.")
    device = _CUDA_TYPE  # and index 0 in the upper byte
    ours = (kind(lambda _: device), exchange(lambda _, __: device), current(lambda _: device))
    for index, function in enumerate(ours):
        copied[header + index] = ctypes.cast(function, ctypes.c_void_p).value
    instance = (ctypes.c_void_p * 1)(ctypes.addressof(copied) + header * word)
    _kept.extend((copied, instance, ours))
    return ctypes.addressof(instance)
