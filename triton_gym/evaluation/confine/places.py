"""Which files a worker needs: computed once, in the fork server, after its imports.

Three things are kept apart: what may be read (Python, packages, libraries, compilers, CUDA), what
is a device, and what is private even where it lies inside something readable: the user's folders,
other evaluations, and the catalogue with its references and best answers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from triton_gym.evaluation.confine.landlock import DEVICE, READ, Access

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
    "/opt/cuda", "/opt/nvidia", "/run/opengl-driver",
)  # fmt: skip
_CONFIGURATION = (
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    "/etc/ld.so.preload", "/etc/localtime", "/etc/nsswitch.conf", "/etc/nvidia", "/etc/passwd",
    "/etc/ssl/openssl.cnf",
)  # fmt: skip
_KERNEL = (
    "/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/fs/cgroup", "/sys/kernel/mm",
    "/sys/module", "/proc/cpuinfo", "/proc/devices", "/proc/driver", "/proc/filesystems",
    "/proc/loadavg", "/proc/meminfo", "/proc/modules", "/proc/stat", "/proc/sys",
    "/proc/uptime", "/proc/version",
)  # fmt: skip
"""Of /proc no other process: a command line can hold a password."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_TOOLS = ("cc", "gcc", "clang", "ld", "as")
_TOOL_FOLDERS = ("bin", "include", "lib", "lib32", "lib64", "libexec", "share/gcc")
_NAMED_IN = (
    "CPATH", "CUDA_HOME", "CUDA_PATH", "C_INCLUDE_PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH",
    "TRITON_CUOBJDUMP_PATH", "TRITON_LIBCUDA_PATH", "TRITON_LIBDEVICE_PATH",
    "TRITON_NVDISASM_PATH", "TRITON_PTXAS_BLACKWELL_PATH", "TRITON_PTXAS_PATH",
)  # fmt: skip
"""Variables that name files or folders of compilers and CUDA."""
_ANSWERS = ("envs", "agents", "audit")
"""Parts of this package with references, best answers and collected tricks."""
_DEEPEST = 12
"""How many folders down a private folder is gone around."""


@dataclass(frozen=True, slots=True)
class Places:
    """The file rules that all workers of a fork server share."""

    rules: tuple[tuple[str, Access], ...]
    essential: tuple[str, ...]
    """Files that must be readable afterwards: otherwise the machine is at fault, not an answer."""


def find() -> Places:
    """The places of this process, whose imports are those of its workers."""
    private = _private()
    candidates = {
        *_SYSTEM, *_interpreter(), *_packages(), *_libraries(), *_compilers(), *_named(),
    }  # fmt: skip
    real = {os.path.realpath(path) for path in candidates if os.path.exists(path)}
    readable = _outermost(found for path in real for found in _around(path, private))
    readable += (p for p in (*_CONFIGURATION, *_KERNEL) if os.path.exists(p))
    return Places(tuple((path, READ) for path in readable), _essential())


def devices() -> list[tuple[str, Access]]:
    """The devices that are there; no GPU is among them."""
    return [(path, DEVICE) for path in _DEVICES if os.path.exists(path)]


def _interpreter() -> Iterator[str]:
    for prefix in _prefixes():
        yield prefix  # which is skipped if it is private, as a home may be
        yield from (os.path.join(prefix, name) for name in ("bin", "include", "lib", "lib64"))
    for name in ("stdlib", "platstdlib", "include", "platinclude"):
        yield sysconfig.get_path(name)
    yield os.path.realpath(sys.executable)


def _prefixes() -> set[str]:
    return {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}


def _packages() -> Iterator[str]:
    """Folders that packages are installed in; elsewhere only the packages that are in use.

    A folder on the path may as well be a project with its data, or the current one.
    """
    for entry in filter(None, sys.path):
        try:
            folder = Path(entry).resolve()
        except FileNotFoundError:
            continue  # it is relative to a folder that was removed
        if folder.is_dir() and (
            folder.name in ("site-packages", "dist-packages") or any(folder.glob("*.dist-info"))
        ):
            yield str(folder)
            yield from (  # some installers link to the files of a cache
                item.path for item in os.scandir(folder) if item.is_symlink()
            )
        elif folder.is_file():
            yield str(folder)
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        file = getattr(module, "__file__", None)
        yield from map(str, getattr(module, "__path__", ()))
        if file and os.path.basename(file).split(".")[0] != "__init__":
            yield file


def _libraries() -> Iterator[str]:
    """Folders that the linker searches, and those of what is loaded already."""
    for path in ("/etc/ld.so.conf", *glob("/etc/ld.so.conf.d/*")):
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            continue
        yield from (line for line in lines if line.startswith("/"))
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        mapped = line.split(maxsplit=5)[5:]
        if mapped and ".so" in mapped[0] and mapped[0].startswith("/"):
            yield os.path.dirname(mapped[0])


def _compilers() -> Iterator[str]:
    for tool in (os.environ.get("CC", "cc").split()[0], *_TOOLS):
        found = shutil.which(tool)
        if found:
            prefix = Path(found).resolve().parent.parent
            yield from (str(prefix / folder) for folder in _TOOL_FOLDERS)


def _named() -> Iterator[str]:
    for variable in _NAMED_IN:
        yield from (p for p in os.environ.get(variable, "").split(os.pathsep) if p[:1] == "/")


def _private() -> tuple[str, ...]:
    """What is never opened for being part of something larger."""
    import triton_gym

    installed = Path(triton_gym.__file__).parent
    folders = {
        "/", "/home", "/root", "/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir(),
        os.path.expanduser("~"), *(str(installed / name) for name in _ANSWERS),
    }  # fmt: skip
    with contextlib.suppress(FileNotFoundError):  # it may have been removed
        here = os.getcwd()
        if not {here, os.path.dirname(here)} & _prefixes():  # someone may work in Python's own
            folders.add(here)
    return tuple(os.path.realpath(folder) for folder in folders)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Without those that lie in others."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not found or not _within(path, found[-1]):
            found.append(path)
    return found


def _around(path: str, private: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """The path, or where something private lies inside, what is beside that."""
    if not any(_within(secret, path) for secret in private):
        yield path
    elif path not in private and depth < _DEEPEST:
        for item in os.scandir(path):
            if not item.is_symlink():
                yield from _around(item.path, private, depth + 1)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _essential() -> tuple[str, ...]:
    names = ("torch", "triton", "numpy", __name__)
    files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    return (os.__file__, *(file for file in files if file))
