"""The contract of a kernel task: what is asked, on what, and how an answer is called."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from triton_gym.errors import InvalidTaskError, unknown

if TYPE_CHECKING:
    import torch


class Kind(enum.StrEnum):
    """What an answer defines."""

    FUNCTION = "function"
    """A host function that takes and returns tensors."""
    MODULE = "module"
    """A `torch.nn.Module` that is built once for a case and then called, as in KernelBench."""


class Unit(enum.StrEnum):
    """Which arithmetic units bound a task's FLOPs."""

    VECTOR = "vector"
    MATRIX = "matrix"


DTYPES: tuple[str, ...] = (
    "float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "complex32", "complex64", "complex128",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip
"""Names of torch's dtypes that cases may have."""


@dataclass(frozen=True, slots=True)
class Case:
    """One shape and dtype of a task: named sizes, e.g. `Case("float32", {"rows": 4096})`.

    Arguments of other dtypes are named: `Case("float16", {"rows": 64}, {"index": "int64"})`.
    """

    dtype: str
    """Name of a torch dtype: `float32`, `float16`, `bfloat16`, … What the work is done in, and what
    every argument is in that `dtypes` does not name."""
    sizes: Mapping[str, int]
    """The named sizes, in the task's own words; 0 makes a tensor without elements."""
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """Dtypes of arguments that have another one, by parameter. Those drawn are held against it."""

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, Mapping) or not isinstance(self.dtypes, Mapping):
            raise InvalidTaskError(
                "A case has a dtype and its sizes by name, as Case('float32', {'rows': 4096}); got "
                f"{self.sizes!r:.80}{f', {self.dtypes!r:.80}' if self.dtypes else ''}."
            )
        for name in (self.dtype, *self.dtypes.values()):
            if name not in DTYPES:
                told = unknown("dtype of a case", str(name).removeprefix("torch."), DTYPES)
                raise InvalidTaskError(str(told))
        bad = {
            k: v for k, v in self.sizes.items()
            if not isinstance(v, int) or isinstance(v, bool) or v < 0
        }  # fmt: skip
        if bad:
            raise InvalidTaskError(f"Sizes of a case must be integers of 0 or more; got {bad}.")
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))
        object.__setattr__(self, "dtypes", MappingProxyType(dict(self.dtypes)))

    def __getitem__(self, name: str) -> int:
        return self.sizes[name]

    def __hash__(self) -> int:
        return hash((self.dtype, tuple(self.sizes.items()), tuple(self.dtypes.items())))

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy does not pickle
        return (Case, (self.dtype, dict(self.sizes), dict(self.dtypes)))

    def __str__(self) -> str:
        others = "".join(f" {name}:{dtype}" for name, dtype in self.dtypes.items())
        return " ".join(f"{k}={v}" for k, v in self.sizes.items()) + f" {self.dtype}{others}"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype that `dtype` names."""
        return _torch_dtype(self.dtype)

    def dtype_of(self, parameter: str) -> torch.dtype:
        """The torch dtype of an argument."""
        return _torch_dtype(self.dtypes.get(parameter, self.dtype))

    def resized(self, sizes: Mapping[str, int]) -> Case:
        """The case with other sizes and the same dtypes."""
        return Case(self.dtype, sizes, self.dtypes)


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise InvalidTaskError(f"{name!r} is not the name of a torch dtype.")
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """The range from which hidden test sizes are drawn, both ends included."""

    low: int
    high: int
    """Largest size on a real device."""
    tiny: int
    """Largest size under the interpreter."""
    multiple: int = 1
    """Drawn sizes are multiples of this."""

    def __post_init__(self) -> None:
        given = (self.low, self.high, self.tiny, self.multiple)
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in given):
            raise InvalidTaskError(f"A span is of integers; got {self}.")
        if not (0 <= self.low <= self.tiny <= self.high) or self.multiple < 1:
            raise InvalidTaskError(f"A span needs 0 ≤ low ≤ tiny ≤ high, multiple ≥ 1; got {self}.")
        if self.tiny // self.multiple < -(-self.low // self.multiple):
            raise InvalidTaskError(f"No multiple of {self.multiple} lies in {self}.")

    def draw(self, rng: random.Random, *, tiny: bool) -> int:
        """A size from the range, uniform over its multiples."""
        return self._between(rng, self.low, self.tiny if tiny else self.high)

    def spread(self, rng: random.Random, count: int) -> list[int]:
        """Sizes of several cases on a real device: the first is tiny; of the others, in a random
        order, one is from the upper quarter of the range and the rest from anywhere."""
        upper = self.high - (self.high - self.low) // 4
        sizes = [self._between(rng, upper, self.high)]
        sizes += [self.draw(rng, tiny=False) for _ in range(count - 2)]
        rng.shuffle(sizes)
        return [self.draw(rng, tiny=True), *sizes][:count]

    def _between(self, rng: random.Random, least: int, most: int) -> int:
        """A multiple from between the two, or the last one below if there is none."""
        lowest, highest = -(-least // self.multiple), most // self.multiple
        return rng.randint(min(lowest, highest), highest) * self.multiple


@dataclass(frozen=True, slots=True)
class Entry:
    """How an answer is called: a host function, or a module class of a foreign suite."""

    name: str
    """Name of the function or class that the answer must define."""
    parameters: tuple[str, ...]
    """Names of the positional parameters that are passed; of `forward`, for a module."""
    kind: str = Kind.FUNCTION
    """`function` or `module`, see `Kind`."""

    def __post_init__(self) -> None:
        names = (self.name, *self.parameters) if isinstance(self.parameters, tuple | list) else [""]
        if not all(isinstance(name, str) and name.isidentifier() for name in names):
            raise InvalidTaskError(
                "An entry point has a name and a tuple of its parameters' names; got "
                f"{self.name!r:.80}, {self.parameters!r:.80}."
            )
        if self.kind not in list(Kind):
            raise InvalidTaskError(
                f"Unknown kind {self.kind!r} of an entry point. Allowed: {', '.join(Kind)}."
            )


def _no_arguments(case: Case) -> tuple[Any, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kernel task. See `envs/core/softmax/task.py` for one to copy.

    `reference` is plain PyTorch and must accept float64 inputs (the oracle) as well as the
    case's own dtype (the baseline). `inputs(case, generator)` draws the arguments on the
    generator's device; its values must make trivial answers fail.
    """

    name: str
    """Short name: the environment is `TritonKernel-<name>-v<version>`."""
    title: str
    """A few words for tables."""
    statement: str
    """One paragraph that says what to compute, with the layout of every argument."""
    entry: Entry
    """What an answer must define."""
    reference: Callable[..., Any]
    """PyTorch reference: the arguments to the result. That is a tensor of any dtype and shape, a
    number, or a tuple, list or dict of these and of None, nested as may be. If the entry point is a
    module: its class, or a function that makes the module from `init`'s arguments."""
    inputs: Callable[[Case, torch.Generator], Any]
    """Draws the arguments of a case: a tuple with one for each parameter. Each is a tensor of any
    dtype, strides and number of elements, None, a number, a text, a dtype, or a tuple, list or dict
    of these."""
    tiny: tuple[Case, ...]
    """Cases small enough for the interpreter (well under 0.3 s each)."""
    bench: tuple[Case, ...]
    """Cases at full size, each timed in every evaluation. What `info` tells is the first's,
    and the speedup is the geometric mean of theirs."""
    spans: Mapping[str, Span]
    """For each size, the range of hidden test shapes."""
    flops: Callable[[Case], float]
    """Floating point operations of a case."""
    min_bytes: Callable[[Case], float]
    """Bytes of a case when what the result is made of is read once, and the result written once. An
    answer that is faster than these allow is called cheating, so none may be counted too many."""
    reduction: Callable[[Case], int]
    """Length of the longest sum, for the floor of the tolerance."""
    starter: str
    """Source of a correct, plain answer."""
    expert: str
    """Source of the best answer known here, with its knobs as module constants."""
    init: Callable[[Case], tuple[Any, ...]] = _no_arguments
    """Arguments of a module's constructor for a case: plain values, the same for reference and
    answer."""
    drawn: Callable[[random.Random, bool], Case] | None = None
    """Draws a hidden case, tiny if so asked, where `spans` cannot: sizes that hang together."""
    knobs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Module-level integer constants of `expert` and the values each may take."""
    part: Callable[..., Any] | None = None
    """`part(ranges, cast, *arguments)`: a part of the reference's result at full size, for devices
    that cannot compute all of it. `ranges` holds a slice for each axis of the result; an axis that
    cannot be cut may come whole. Of several results those of another rank may be None. `cast` is
    to be applied to every tensor once it is cut. Without it the
    whole reference is computed where that is cheap."""
    unit: Unit | None = None
    """Whether `flops` run on the vector or on the matrix units, at the rate of the narrowest dtype
    among the arguments. None to infer it: the matrix units if the reference multiplies matrices or
    convolves, or if the vector units would bound it."""
    untimed: tuple[Case, ...] = ()
    """Further cases at full size, for whoever asks; nothing is timed on them. Hidden test cases
    have their dtypes, too."""
    exact: bool = False
    """Whether the result is decided by the arguments without any rounding, and the statement says
    which of equal ones counts. Otherwise integers are not compared where the reference jumps when
    its arguments hardly move, which ties are an instance of."""
    same_strides: bool = False
    """Whether results must have the strides of the reference's: a view, an expanded result, another
    order of axes. Otherwise any strides will do; an answer whose result is neither contiguous nor
    strided like the reference's pays for making it so."""
    tags: tuple[str, ...] = ("core",)
    """Suite and category, for selecting tasks."""
    notes: tuple[str, ...] = ()
    """What was found when it was loaded and a user should know, told in `info["notes"]`: a result
    that hardly depends on the input, tests that a simulated device may not get through."""
    version: int = 0
    """Bumped by every change that alters a reward."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidTaskError(f"A task's name must be an identifier; got {self.name!r:.80}.")
        self._hold_kinds()
        if self.unit is not None:
            if self.unit not in list(Unit):
                raise InvalidTaskError(
                    f"Unknown unit {self.unit!r} of task {self.name!r}. Allowed: "
                    f"{', '.join(Unit)}, or None to infer it."
                )
            object.__setattr__(self, "unit", Unit(self.unit))
        if not self.tiny or not self.bench:
            raise InvalidTaskError(
                f"Task {self.name!r} needs at least one tiny and one bench case."
            )
        names = set(self.spans)
        for case in (*self.tiny, *self.bench, *self.untimed):
            if set(case.sizes) != names and self.drawn is None:
                raise InvalidTaskError(
                    f"Case {case} of task {self.name!r} has sizes {sorted(case.sizes)}, but its "
                    f"spans name {sorted(names)}."
                )
            if unknown := set(case.dtypes) - set(self.entry.parameters):
                raise InvalidTaskError(
                    f"Case {case} of task {self.name!r} gives a dtype to {sorted(unknown)}; its "
                    f"parameters are {', '.join(self.entry.parameters)}."
                )

    def _hold_kinds(self) -> None:
        """Raise if a field is another kind of thing than it must be."""
        texts = ("title", "statement", "starter", "expert")
        calls = ("reference", "inputs", "flops", "min_bytes", "reduction", "init")
        kinds: dict[str, tuple[Any, str]] = {
            "entry": (Entry, "an Entry"), "version": (int, "an integer"),
            "tiny": (Sequence, "a tuple of cases"), "bench": (Sequence, "a tuple of cases"),
            "spans": (Mapping, "a Span for each size"), "knobs": (Mapping, "values for each knob"),
            **dict.fromkeys(texts, (str, "text")), **dict.fromkeys(calls, (Callable, "a function")),
        }  # fmt: skip
        for name, (kind, told) in kinds.items():
            given = getattr(self, name)
            if not isinstance(given, kind):
                raise InvalidTaskError(
                    f"{name} of task {self.name!r} must be {told}; got {given!r:.80}."
                )
        for case in (*self.tiny, *self.bench, *self.untimed):
            if not isinstance(case, Case):
                raise InvalidTaskError(f"Task {self.name!r} has a case that is {case!r:.80}.")

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that the task's cases use, in order of appearance."""
        return tuple(dict.fromkeys(case.dtype for case in (*self.bench, *self.untimed, *self.tiny)))

    @property
    def signature(self) -> str:
        """The host function as an answer defines it, or the class with its `forward`."""
        if self.entry.kind == Kind.MODULE:
            arguments = ", ".join(("self", *self.entry.parameters))
            return f"class {self.entry.name}(torch.nn.Module):  def forward({arguments})"
        return f"def {self.entry.name}({', '.join(self.entry.parameters)}):"

    def draw(self, rng: random.Random, *, tiny: bool) -> Case:
        """A hidden test case: every size from its span, the dtypes from one of the task's cases."""
        if self.drawn is not None:
            return self.drawn(rng, tiny)
        sizes = {name: span.draw(rng, tiny=tiny) for name, span in self.spans.items()}
        return rng.choice(self._examples).resized(sizes)

    @property
    def _examples(self) -> tuple[Case, ...]:
        """One case for each combination of dtypes, in order of appearance."""
        found: dict[tuple[Any, ...], Case] = {}
        for case in (*self.bench, *self.untimed, *self.tiny):
            found.setdefault((case.dtype, *sorted(case.dtypes.items())), case)
        return tuple(found.values())

    def hidden(self, rng: random.Random, count: int, *, tiny: bool) -> list[Case]:
        """Distinct test cases of one evaluation, fewer where the task has no more.

        On a real device sizes are spread over their spans (`Span.spread`) and every dtype has its
        turn: no seed lets through what goes wrong for large sizes only. What is wrong by little
        shows in few values, whose tolerance is smaller than that of many, so one case is tiny. For
        the interpreter `tiny` should list what is rare among draws, as long rows.
        """
        found: dict[Case, None] = {}
        for _ in range(20):
            found |= dict.fromkeys(self._spread(rng, count, tiny))
            if len(found) >= count:
                break
        return list(found)[:count]

    def _spread(self, rng: random.Random, count: int, tiny: bool) -> list[Case]:
        if self.drawn is not None or tiny:
            return [self.draw(rng, tiny=tiny) for _ in range(count)]
        examples = rng.sample(self._examples, len(self._examples))
        sizes = {name: span.spread(rng, count) for name, span in self.spans.items()}
        return [
            examples[i % len(examples)].resized({name: some[i] for name, some in sizes.items()})
            for i in range(count)
        ]

    def __iter__(self) -> Iterator[Case]:
        return iter((*self.tiny, *self.bench, *self.untimed))
