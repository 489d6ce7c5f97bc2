"""What host code calls of `triton`: decorators, and launches that run a grid's programs in turn."""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from triton_gym.suites.eager_triton import language
from triton_gym.suites.eager_triton.memory import PROGRAM, EmulationError, Pointer, write

MOST_PROGRAMS = 1 << 15
"""Programs of a grid, above which it is too large to be emulated."""
AT_ONCE = 128
"""Programs that run as one."""
ENDS = 32
"""Programs at either end of a grid, where only these run."""
_HINTS = frozenset({"num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion", "warmup",
                    "stream", "waves_per_eu", "matrix_instr_nonkdim", "kpack"})  # fmt: skip


@torch.library.custom_op("triton_gym::kernel_launch", mutates_args=())
def kernel_launch(touched: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stands for a launch where tensors have no values: what models times by operators counts the
    bytes of the tensors that it was given."""
    return torch.empty(0)


@kernel_launch.register_fake
def _(touched: Sequence[torch.Tensor]) -> torch.Tensor:
    return touched[0].new_empty(0)


class Config:
    """A configuration of `triton.autotune`."""

    def __init__(
        self, kwargs: Mapping[str, Any], num_warps: int = 4, num_stages: int = 2,
        num_ctas: int = 1, maxnreg: int | None = None, pre_hook: Any = None, **more: Any,
    ) -> None:  # fmt: skip
        self.kwargs = dict(kwargs)
        self.num_warps, self.num_stages, self.num_ctas = num_warps, num_stages, num_ctas
        self.maxnreg, self.pre_hook = maxnreg, pre_hook

    def all_kwargs(self) -> dict[str, Any]:
        """What it sets."""
        return {**self.kwargs, "num_warps": self.num_warps, "num_stages": self.num_stages}


class Kernel:
    """A function under `triton.jit`.

    Args:
        fn: the function.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.signature = inspect.signature(fn)
        self.arg_names = list(self.signature.parameters)
        self.constants = {
            name for name, one in self.signature.parameters.items()
            if "constexpr" in str(one.annotation)
        }  # fmt: skip
        self.config: Config | None = None
        self.heuristics: dict[str, Callable[[dict[str, Any]], Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """From another kernel."""
        return self.fn(*args, **kwargs)

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return functools.partial(self.run, grid=grid)

    def run(self, *args: Any, grid: Any, **kwargs: Any) -> None:
        """A launch."""
        config = {} if self.config is None else self.config.kwargs
        known = {k: v for k, v in kwargs.items() if k in self.arg_names or k not in _HINTS}
        kwargs = {**config, **known}
        bound = self.signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        for name, value in self.heuristics.items():
            if name in self.arg_names:
                given[name] = value({**kwargs, **given})
        if missing := [n for n in self.arg_names if n not in given]:
            raise TypeError(f"{self.fn.__name__} was launched without {', '.join(missing)}")
        if self.config is not None and self.config.pre_hook is not None:
            self.config.pre_hook(dict(given))
        sizes = grid({**kwargs, **given}) if callable(grid) else grid
        sizes = tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
        self._launch(tuple(int(n) for n in sizes) + (1,) * (3 - len(sizes)), given)

    def _launch(self, grid: tuple[int, ...], given: Mapping[str, Any]) -> None:
        tensors = [x for x in given.values() if isinstance(x, torch.Tensor)]
        if tensors and any(_valueless(x) for x in tensors):
            kernel_launch(tensors)
            return
        if PROGRAM.idle:
            return
        if grid[0] * grid[1] * grid[2] > MOST_PROGRAMS and not PROGRAM.ends:
            raise EmulationError(f"{self.fn.__name__} has {grid} programs, too many to emulate")
        arguments = {
            n: v if n in self.constants else _argument(v)
            for n, v in given.items()
        }  # fmt: skip
        ids = torch.cartesian_prod(*(torch.arange(n) for n in reversed(grid))).flip(-1)
        if PROGRAM.ends and len(ids) > 2 * ENDS:
            ids = torch.cat([ids[:ENDS], ids[-ENDS:]])
        before = PROGRAM.ids, PROGRAM.grid, PROGRAM.stores
        PROGRAM.grid, PROGRAM.accesses, PROGRAM.waits = grid, 0, 0
        try:
            done = 0
            while len(ids) - done > 1 and self._at_once(ids[done : done + AT_ONCE], arguments):
                done += AT_ONCE
            for x, y, z in ids[done:].tolist():
                PROGRAM.ids = (x, y, z)
                self.fn(**arguments)
        finally:
            PROGRAM.ids, PROGRAM.grid, PROGRAM.stores = before

    def _at_once(self, ids: torch.Tensor, arguments: Mapping[str, Any]) -> bool:
        """Run programs as one along a further axis; False, and nothing done, if that fails.

        It fails where a program's way depends on which it is, and where it reads what it stored.
        """
        targets: list[torch.Tensor] = []

        def run(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Any:
            PROGRAM.ids = (x, y, z)
            PROGRAM.stores = []
            self.fn(**arguments)
            targets.extend(flat for flat, _ in PROGRAM.stores)
            return tuple(values for _, values in PROGRAM.stores)

        try:
            found = torch.vmap(run)(*ids.unbind(-1))
        except Exception:  # told when it fails alone, too
            return False
        finally:
            PROGRAM.stores = None
        for flat, values in zip(targets, found, strict=True):
            write(flat, *values)
        return True


def _valueless(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "meta" or type(tensor) not in (torch.Tensor, torch.nn.Parameter)


def _argument(value: Any) -> Any:
    """What a kernel sees of an argument."""
    if isinstance(value, torch.nn.Parameter):
        value = value.detach()
    if isinstance(value, torch.Tensor):
        return Pointer.to_tensor(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(value)
    return value


def jit(fn: Any = None, **options: Any) -> Any:
    """`triton.jit`."""
    return Kernel(fn) if fn is not None else Kernel


def autotune(
    configs: Sequence[Config], key: Any = (), **options: Any
) -> Callable[[Kernel], Kernel]:
    """`triton.autotune`: the first configuration is as good as any."""

    def tuned(kernel: Kernel) -> Kernel:
        kernel.config = configs[0]
        return kernel

    return tuned


def heuristics(values: Mapping[str, Callable[[dict[str, Any]], Any]]) -> Callable[[Kernel], Kernel]:
    """`triton.heuristics`."""

    def told(kernel: Kernel) -> Kernel:
        kernel.heuristics = {**kernel.heuristics, **values}
        return kernel

    return told


def next_power_of_2(n: int) -> int:
    """The least power of 2 that is not smaller."""
    return 1 << (int(n) - 1).bit_length() if n > 0 else 1


def module() -> ModuleType:
    """What stands for the package `triton`."""
    found = ModuleType("triton")
    found.__dict__.update(
        jit=jit, autotune=autotune, heuristics=heuristics, Config=Config, cdiv=language.cdiv,
        next_power_of_2=next_power_of_2, language=language, __version__="3.0.0",
        JITFunction=Kernel, OutOfResources=type("OutOfResources", (Exception,), {}),
        reinterpret=lambda tensor, dtype: tensor.view(dtype), __path__=[],
    )  # fmt: skip
    return found


def both(first: Any, second: Callable[[], Any]) -> Any:
    """`and` of a kernel, where blocks are compared element by element."""
    if isinstance(first, torch.Tensor) and first.numel() > 1:
        return first.bool() & torch.as_tensor(second()).bool()
    return first and second()


def either(first: Any, second: Callable[[], Any]) -> Any:
    """`or` of a kernel."""
    if isinstance(first, torch.Tensor) and first.numel() > 1:
        return first.bool() | torch.as_tensor(second()).bool()
    return first or second()


def spread(block: Any, new: Sequence[bool]) -> Any:
    """A block with further axes of one element.

    Args:
        block: values or pointers, or a single one, whose missing axes Triton lets pass.
        new: for each axis of the result whether it is a further one.
    """
    if not isinstance(block, (torch.Tensor, Pointer)):
        block = torch.as_tensor(block)
    if not block.shape:
        return block[(None,) * sum(new)]
    return block[tuple(None if one else slice(None) for one in new)]


def least(*given: Any, **more: Any) -> Any:
    """`min` of a kernel; it is never asked which of two blocks is smaller as a whole."""
    return _folded(language.minimum, builtins.min, given, more)


def most(*given: Any, **more: Any) -> Any:
    """`max` of a kernel."""
    return _folded(language.maximum, builtins.max, given, more)


def _folded(
    by_element: Callable[..., Any], plain: Callable[..., Any], given: Sequence[Any],
    more: Mapping[str, Any],
) -> Any:  # fmt: skip
    if len(given) > 1 and any(isinstance(one, torch.Tensor) for one in given):
        return functools.reduce(by_element, given)
    return plain(*given, **more)


def value_of(constant: Any) -> Any:
    """What a constant's attribute `value` is."""
    return constant if isinstance(constant, (int, float, str, bool)) else constant.value


def is_of_kind(dtype: Any, name: str) -> bool:
    """Whether a dtype is what a method of Triton's dtypes asks.

    Args:
        dtype: PyTorch's; of anything else its own method is called.
        name: of the method, e.g. `is_fp64` or `is_int_signed`.
    """
    if not isinstance(dtype, torch.dtype):
        return bool(getattr(dtype, name)())
    kind = name.removeprefix("is_")
    text = str(dtype).removeprefix("torch.")
    if kind in ("floating", "standard_floating"):
        return dtype.is_floating_point and (kind == "floating" or dtype.itemsize > 1)
    whole = not (dtype.is_floating_point or dtype.is_complex)
    if kind in ("int", "int_signed", "int_unsigned"):
        signed = dtype.is_signed and dtype != torch.bool
        return whole and (kind == "int" or signed == (kind == "int_signed"))
    if kind in ("bool", "int1"):
        return dtype == torch.bool
    long = kind.replace("bf", "bfloat").replace("fp", "float")
    return text == long or (kind == "fp8" and text.startswith("float8"))


HELPERS: Mapping[str, Any] = {
    "_triton_gym_both": both, "_triton_gym_either": either, "_triton_gym_to": language.cast,
    "_triton_gym_value": value_of, "_triton_gym_is": is_of_kind,
    "_triton_gym_spread": spread, "_triton_gym_least": least, "_triton_gym_most": most,
}  # fmt: skip
"""Functions that rewritten kernels call."""
