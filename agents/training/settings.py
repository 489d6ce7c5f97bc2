"""Typed settings: dataclasses filled from a TOML or JSON file and from `key=value` arguments."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from triton_gym.errors import InvalidOptionError, unknown

Kind = TypeVar("Kind")
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """AdamW, and how gradients reach it."""

    lr: float = 1e-6
    """Peak learning rate."""
    schedule: str = "constant"
    """After the warm-up: `constant`, or `linear` or `cosine` down to a tenth at the last step."""
    warmup: int = 0
    """Steps over which the learning rate grows from zero."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them."""
    micro_tokens: int = 16384
    """Tokens, padding included, in one forward and backward pass; halved when memory runs out."""

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("optimizer.schedule", self.schedule, SCHEDULES)
        if self.lr <= 0 or self.micro_tokens < 1 or self.warmup < 0:
            raise InvalidOptionError(
                "optimizer.lr must be above 0, micro_tokens 1 or more and warmup 0 or more; got "
                f"{self.lr}, {self.micro_tokens} and {self.warmup}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How long, and where it is written."""

    out: str = "runs/train"
    """The run's folder; if it holds this run already, the run goes on."""
    steps: int = 100
    seed: int = 0
    save_every: int = 10
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that are kept, beside `checkpoints/best` where there is one."""
    transcripts_every: int = 10
    """Steps between sample transcripts; 0 for none. Conversations with a reply that was called
    `cheating` are written down at every step."""
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise InvalidOptionError(
                    f"run.{name} must be 1 or more; got {getattr(self, name)}."
                )


def read_settings(kind: type[Kind], file: Path | None, overrides: Sequence[str]) -> Kind:
    """Settings from a file and from arguments, which come last.

    Args:
        kind: a dataclass, whose fields may be dataclasses.
        file: TOML or JSON, or None for the defaults.
        overrides: `key=value` with dots between levels; a value is read as TOML, else as text.

    Raises:
        InvalidOptionError: the file cannot be read, or a setting is unknown or of the wrong type.
    """
    values = _file(file) if file else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InvalidOptionError(f"Settings are given as key=value; got {override!r}.")
        *path, last = key.strip().split(".")
        level = values
        for name in path:
            level = level.setdefault(name, {})
            if not isinstance(level, dict):
                raise InvalidOptionError(f"{key!r}: {name!r} is a value, not a section.")
        level[last] = _value(text)
    return _filled(kind(), values, "")


def as_json(settings: Any) -> dict[str, Any]:
    """Settings as plain values, for `config.json`; `read_settings` reads them again."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return found


def _file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InvalidOptionError(f"Cannot read the config {file}: {error.strerror}.") from None
    except ValueError as error:
        raise InvalidOptionError(f"The config {file} is not valid: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidOptionError(f"The config {file} must hold settings by name.")
    return found


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _filled(settings: Kind, values: Mapping[str, Any], prefix: str) -> Kind:
    """The settings with some values changed; what a section leaves out stays as it was."""
    hints = typing.get_type_hints(type(settings))
    known = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown("setting", f"{prefix}{name}", [f"{prefix}{field}" for field in known])
    changed = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(known[name]):
            if not isinstance(value, Mapping):
                raise InvalidOptionError(f"{prefix}{name} is a section of settings; got {value!r}.")
            changed[name] = _filled(known[name], value, f"{prefix}{name}.")
        else:
            changed[name] = _typed(hints[name], value, f"{prefix}{name}")
    return dataclasses.replace(settings, **changed)  # type: ignore[type-var]


def _typed(hint: Any, value: Any, name: str) -> Any:
    """The value as the hint wants it.

    Raises:
        InvalidOptionError: it is of another type.
    """
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        return None if value is None else _typed(inner, value, name)
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, (list, tuple)):
            inner = typing.get_args(hint)[0]
            return tuple(_typed(inner, item, name) for item in items)
    elif origin is dict or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise InvalidOptionError(f"{name} must be {wanted}; got {value!r} ({type(value).__name__}).")
