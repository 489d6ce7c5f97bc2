"""What searches found, kept for the next process: `~/.cache/triton_gym/optimize`.

An entry belongs to a function as it is written, to the kind of its examples, and to the GPU, the
driver and the versions that it was verified with; another GPU has entries of its own. It is written
whole and then renamed. Entries carry a code made with a key that only this user can read
(HMAC-SHA256): one that was changed, or that came from elsewhere, is never run as it is; its source
is at most one more candidate for a search, which verifies it like any other.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import pickle
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triton_gym.errors import StoreError
from triton_gym.optimization.binding import Verified
from triton_gym.runs.folder import write_whole

VERSION = 1
"""Of an entry's form."""
COMPILED = "compiled"
"""Folder of compiled kernels in a cache's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a function."""

    verified: Verified | None
    """None if the search found nothing faster."""
    finished: bool
    """Whether the search used its time up."""
    run_folder: str
    says: str = ""
    """The last word of the search."""


def default_folder() -> Path:
    """`TRITON_GYM_CACHE`, or below the user's cache."""
    named = os.environ.get("TRITON_GYM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base, "triton_gym", "optimize")


def environment_of(device: str) -> dict[str, str]:
    """The GPU, the driver and the versions that a kernel is verified with."""
    from importlib import metadata

    import torch

    found = {name: metadata.version(name) for name in ("torch", "triton", "triton-gym")}
    kind, _, which = device.partition(":")
    if kind == "cuda" and torch.cuda.is_available():
        index = int(which or 0)
        found["gpu"] = torch.cuda.get_device_name(index)
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(index)))
        found["driver"] = _driver()
    else:
        found["gpu"] = kind
    return found


def _driver() -> str:
    """The version of NVIDIA's driver, from the kernel module's own file."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.partition("\n")[0]


def key_of(function: str, examples: str, dynamic: Any, environment: Mapping[str, str]) -> str:
    """The name of an entry.

    Args:
        function: a digest of the function as it is written.
        examples: a digest of their kind.
        dynamic: which axes vary.
        environment: see `environment_of`.
    """
    told = [VERSION, function, examples, repr(dynamic), sorted(environment.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class Cache:
    """The entries of one user.

    Args:
        folder: where they lie, made if it is not there.

    Raises:
        StoreError: the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._key = self._secret()
        except OSError as error:
            raise StoreError(f"The cache {self.folder} cannot be used: {error}.") from None

    @property
    def kernels(self) -> Path:
        """Where the files of loaded kernels lie."""
        return self.folder / "kernels"

    @property
    def compiled(self) -> Path:
        """Where what Triton compiles of them lies, for the search and for programs alike."""
        return self.folder / COMPILED

    def get(self, key: str) -> Entry | None:
        """The entry of a key; None if there is none that this user's processes wrote whole."""
        try:
            told = json.loads(self._path(key).read_text(encoding="utf-8"))
            payload = base64.b64decode(told["payload"], validate=True)
            if not hmac.compare_digest(self._code(key, payload), str(told["code"])):
                return None
            entry = pickle.loads(payload)
        except (OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError, AttributeError,
                ImportError, EOFError):  # fmt: skip
            return None
        if not isinstance(entry, Entry):
            return None
        if entry.verified is not None and self.banned(entry.verified.source):
            return None
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Write an entry.

        Raises:
            StoreError: the disk does not take it.
        """
        payload = pickle.dumps(entry)
        told = {
            "version": VERSION,
            "payload": base64.b64encode(payload).decode(),
            "code": self._code(key, payload),
            "source": "" if entry.verified is None else entry.verified.source,
            "says": entry.says,
        }
        try:
            write_whole(self._path(key), json.dumps(told, indent=1))
        except OSError as error:
            raise StoreError(f"Cannot write {self._path(key)}: {error}.") from None

    def unverified(self, key: str) -> str:
        """The source of an entry that `get` does not vouch for; empty if there is none."""
        try:
            told = json.loads(self._path(key).read_text(encoding="utf-8"))
            source = told["source"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return source if isinstance(source, str) and not self.banned(source) else ""

    # -- kernels that faulted ---------------------------------------------------------------------

    def ban(self, source: str, why: str) -> None:
        """Never use a kernel again."""
        with contextlib.suppress(OSError):  # a full disk must not end the program
            folder = self.folder / "banned"
            folder.mkdir(exist_ok=True)
            write_whole(folder / f"{_digest(source)}.json", json.dumps({"why": why}))

    def banned(self, source: str) -> bool:
        """Whether a kernel is never to be used."""
        return (self.folder / "banned" / f"{_digest(source)}.json").exists()

    # -- from one machine to another --------------------------------------------------------------

    def export(self, path: Path) -> int:
        """Write the sources of all entries to one file of JSON; returns how many there are."""
        found = {}
        for file in sorted(self.folder.glob("*.json")):
            source = self.unverified(file.stem)
            if source:
                found[file.stem] = source
        write_whole(path, json.dumps({"version": VERSION, "sources": found}, indent=1))
        return len(found)

    def load(self, path: Path) -> int:
        """Take in what `export` wrote, here or elsewhere; returns how many are new.

        They are unverified here: a search tries them before anything else.

        Raises:
            StoreError: the file is none of `export`'s.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            sources = told["sources"]
            if not all(_is_key(k) and isinstance(v, str) for k, v in sources.items()):
                raise ValueError("it holds other things than sources")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} holds no exported kernels: {error}.") from None
        new = 0
        for key, source in sources.items():
            if not self._path(key).exists():
                write_whole(self._path(key), json.dumps({"version": VERSION, "source": source}))
                new += 1
        return new

    # -- one search at a time ---------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Hold a key's search; yields False if another process holds it."""
        with (self.folder / f"{key}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _code(self, key: str, payload: bytes) -> str:
        return hmac.new(self._key, key.encode() + payload, hashlib.sha256).hexdigest()

    def _secret(self) -> bytes:
        """This user's key; the first process makes it."""
        path = self.folder / "key"
        if not path.exists():
            made = self.folder / f".key.{secrets.token_hex(8)}"
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(made, path)
            made.unlink()
        return path.read_bytes()


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def _is_key(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
