"""The kinds of device, and what a user's `device=` names."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from triton_gym.device import Device
from triton_gym.errors import InvalidOptionError
from triton_gym.evaluation.backends.protocol import Backend

BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "cuda": "triton_gym.evaluation.backends.cuda.backend:CudaBackend",
        "simulated": "triton_gym.evaluation.backends.simulated.backend:SimulatedBackend",
    }
)
"""A line each; `auto` is the first that can be used here."""


@functools.cache
def backend_named(name: str) -> Backend:
    """The backend of a name in `BACKENDS`."""
    module, _, attribute = BACKENDS[name].partition(":")
    made: Backend = getattr(importlib.import_module(module), attribute)()
    return made


def backend_of(device: Device) -> Backend:
    """The backend of a device."""
    return backend_named(device.kind)


def resolve_all(device: str) -> tuple[Device, ...]:
    """The devices that a user's `device=` names: several for `cuda:all`.

    Raises:
        InvalidOptionError: it names none.
        DeviceError: what it names is not there.
    """
    name, which = split(device)
    if name == "auto":
        name = next(n for n in BACKENDS if backend_named(n).usable())
    return backend_named(name).devices(which)


def resolve(device: str) -> Device:
    """The one device that a user's `device=` names.

    Raises:
        InvalidOptionError: it names none, or several.
        DeviceError: what it names is not there.
    """
    found = resolve_all(device)
    if len(found) > 1:
        raise InvalidOptionError(f"device={device!r} names {len(found)} devices; give one of them.")
    return found[0]


def split(device: str) -> tuple[str, str]:
    """The backend's name and the rest, which is empty if there is none.

    Raises:
        InvalidOptionError: there is no such backend.
    """
    name, colon, which = str(device).strip().partition(":")
    name = name.lower()
    if name == "recorded":
        raise InvalidOptionError(
            f"device={device!r} answers TritonTune environments alone: a table of recorded times "
            "knows no kernels but its own."
        )
    if (name not in BACKENDS and (name, colon) != ("auto", "")) or (colon and not which):
        raise unknown_device(device)
    return name, which


def unknown_device(device: str) -> InvalidOptionError:
    """What a device that is none is told."""
    allowed = [repr(text) for name in BACKENDS for text in backend_named(name).spellings]
    return InvalidOptionError(
        f"device={device!r} is not a device. Allowed: 'auto', {', '.join(allowed)}."
    )
