"""Which environment variables reach a worker: none of them may be a secret."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = frozenset(
    {"CC", "COMPILER_PATH", "CONDA_PREFIX", "CPATH", "CXX", "C_INCLUDE_PATH", "HOME", "LANG",
     "LANGUAGE", "LIBRARY_PATH", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
)  # fmt: skip
_BEGINNINGS = (
    "CUBLAS", "CUDA_", "GCC_", "GLIBC_", "GOMP_", "KMP_", "LC_", "LD_", "MALLOC_", "MKL_", "NIX_",
    "NVIDIA_", "NV_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH", "TRITON_",
)  # fmt: skip
_SECRET = ("KEY", "PASSWORD", "SECRET", "TOKEN")


def narrowed(environment: Mapping[str, str]) -> dict[str, str]:
    """What Python, PyTorch, Triton, CUDA and compilers go by. Access tokens and the like stay."""
    return {
        name: value
        for name, value in environment.items()
        if (name in _NAMES or name.startswith(_BEGINNINGS))
        and not any(word in name.upper() for word in _SECRET)
    }
