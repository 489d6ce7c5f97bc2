"""Problems without values: how many elements, bytes and how long a sum, at any size for nothing.

Meta tensors are tried first: they cost microseconds an operator. What they cannot do (a value read
on the host) PyTorch's fake tensors can in part, and importing those takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from triton_gym.evaluation.modules import build
from triton_gym.task import Case, Kind


class Form(Protocol):
    """A problem of any suite, in the form that tasks are made of."""

    def __hash__(self) -> int:
        """Equal problems are one, so that what is found of them is kept."""

    @property
    def kind(self) -> Kind:
        """What an answer defines."""

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """The arguments of a case, drawn on the generator's device."""

    def init(self, case: Case) -> tuple[Any, ...]:
        """Arguments of the constructor, for a module."""

    def reference(self, *arguments: Any) -> Any:
        """The function, or what makes the module."""


class Valueless:
    """What stands for a generator where tensors have no values."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def initial_seed(self) -> int:
        """Any."""
        return 0


def without_values(draw: Callable[[Any], Any]) -> Any:
    """What a function draws from a generator, as tensors that have a shape only.

    Where a file looks at what it draws, there is no other way than to draw it.
    """
    try:
        return draw(Valueless("meta"))
    except Exception:  # whatever a file does that meta tensors do not know
        from torch._subclasses.fake_tensor import FakeTensorMode

        try:
            with FakeTensorMode(allow_non_fake_inputs=True), _muted():
                return draw(Valueless("cpu"))
        except Exception:
            return draw(torch.Generator().manual_seed(0))


def input_elements(form: Form, case: Case) -> int:
    """Elements of the inputs; raises what the problem raises."""
    inputs = form.inputs(case, Valueless("meta"))  # type: ignore[arg-type]
    return sum(t.numel() for t in tensors(inputs))


def given_elements(form: Form, case: Case, device: str) -> int:
    """Elements of inputs, parameters and buffers; raises what the problem raises.

    Args:
        form: the problem.
        case: its sizes.
        device: `meta`, or `cpu` for a problem that reads values while it is built.
    """
    generator = Valueless(device)
    inputs = form.inputs(case, generator)  # type: ignore[arg-type]
    held: Sequence[torch.Tensor] = ()
    if form.kind == Kind.MODULE:
        module = _built(form, case, generator)
        held = [*module.parameters(), *module.buffers()]
    return sum(t.numel() for t in [*tensors(inputs), *held])


def followed_elements(form: Form, case: Case, device: str) -> tuple[int, int]:
    """Elements of inputs, parameters and buffers, and of the results; see `given_elements`."""
    generator = Valueless(device)
    inputs = form.inputs(case, generator)  # type: ignore[arg-type]
    held: list[torch.Tensor] = []
    with torch.device(generator.device), torch.no_grad(), _Shapes():
        function = form.reference
        if form.kind == Kind.MODULE:
            function = _built(form, case, generator)
            held = [*function.parameters(), *function.buffers()]
        given = sum(t.numel() for t in [*tensors(inputs), *held])
        return given, counted(function(*inputs))


def _built(form: Form, case: Case, generator: Valueless) -> Any:
    with torch.device(generator.device):
        return build(form.reference, form.init(case), 0, case.dtype, filled=False)


@lru_cache(maxsize=4096)
def extent(form: Form, case: Case) -> int | None:
    """Bytes that have to be read and written; None if the reference cannot be followed without
    values, or does too much for that."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from triton_gym.suites.reading import Reading

    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), _muted(), _Patience():
            generator = Valueless("cpu")
            inputs = form.inputs(case, generator)  # type: ignore[arg-type]
            function: Any = form.reference
            weights: list[torch.Tensor] = []
            if form.kind == Kind.MODULE:
                function = build(form.reference, form.init(case), 0, case.dtype)
                weights = list(function.parameters())
            with Reading([*tensors(inputs), *weights]) as reading:
                results = list(tensors(function(*inputs)))
            written = sum(t.numel() * t.element_size() for t in results)
            return int(reading.bytes(results) + written)
    except Exception:  # whatever a file does that fake tensors do not know
        return None


@lru_cache(maxsize=4096)
def longest(form: Form, case: Case) -> int:
    """The longest axis of an input, or what a row of a parameter multiplies."""
    for device in ("meta", "cpu"):
        generator = Valueless(device)
        try:
            given = list(tensors(form.inputs(case, generator)))  # type: ignore[arg-type]
            module = _built(form, case, generator) if form.kind == Kind.MODULE else None
            return longest_of(given, module.parameters() if module else ())
        except Exception:  # it reads a value, which tensors on `meta` do not have
            continue
    return 1


def patiently_followed(form: Form, case: Case, device: str) -> None:
    """See whether a problem can be followed; what takes too long to tell counts as such."""
    with contextlib.suppress(_OutOfPatienceError), _Patience():
        followed_elements(form, case, device)


@lru_cache(maxsize=4096)
def fits(form: Form, case: Case, limit: int) -> bool:
    """Whether inputs, parameters and results have at most so many elements.

    Results count if the reference can be followed.
    """
    try:
        given = given_elements(form, case, "meta")
    except Exception:  # it reads a value: then it is no larger than what its author ran
        return True
    if given > limit:
        return False
    try:
        with _Patience():
            return sum(followed_elements(form, case, "meta")) <= limit
    except _OutOfPatienceError:
        return True
    except Exception:  # it does not run at these sizes
        return False


class _Shapes(TorchFunctionMode):
    """Batch norms of tensors without values: PyTorch follows one as thirty operators, which takes
    ten times as long as anything else in a network."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.nn.functional.batch_norm and args[0].is_meta and args[0].dim() > 1:
            channels = args[0].shape[1]
            state = list(tensors([*args[1:5], *(kwargs or {}).values()]))
            alike = all(t.is_meta and t.shape == (channels,) for t in state)
            if alike and args[0].numel() > channels:  # else it may be refused
                return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class _OutOfPatienceError(Exception):
    """A reference does more operations than are followed."""


class _Patience(TorchDispatchMode):
    """Ends what does more operations than are worth following: a recurrent layer takes minutes."""

    OPERATIONS = 6000

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = self.OPERATIONS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._left -= 1
        if not self._left:
            raise _OutOfPatienceError
        return func(*args, **(kwargs or {}))


def longest_of(given: Iterable[torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """The longest axis of an input, or what a row of a parameter multiplies."""
    rows = [w.numel() // w.shape[0] for w in weights if w.dim() > 1 and w.shape[0]]
    return max([1, *rows, *(size for x in given for size in x.shape)])


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a value, containers opened."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)


def counted(value: Any) -> int:
    """Elements of the tensors in a result; a number counts as one."""
    if isinstance(value, (bool, int, float, complex)):
        return 1
    if isinstance(value, (list, tuple)):
        return sum(map(counted, value))
    if isinstance(value, dict):
        return sum(map(counted, value.values()))
    return value.numel() if isinstance(value, torch.Tensor) else 0


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """PyTorch logs what fails among fake tensors; here failing is an answer."""
    noise = logging.getLogger("torch._subclasses.fake_tensor")
    level = noise.level
    noise.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        noise.setLevel(level)
