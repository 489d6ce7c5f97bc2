"""Calls of CUDA's driver that PyTorch does not offer."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def call(name: str, *arguments: Any) -> None:
    """Call a function of the CUDA driver; a context must be current where it needs one.

    Raises:
        RuntimeError: it failed; the number is a `CUresult`.
    """
    code = getattr(_library(), name)(*arguments)
    if code:
        raise RuntimeError(f"{name} failed with CUDA driver error {code}")
