"""Where PyTorch's operators on stand-ins end: as views, as steps, on the host, or as a taint.

Of an operator with a stand-in among its arguments
- a view makes another stand-in of the same memory;
- on known memory alone it runs on the mirrors, whatever it computes;
- movement (`movement.py`, `gathering.py`, `filling.py`) becomes steps of the plan;
- a look at values is answered by who can execute what was recorded so far;
- anything else is arithmetic on inputs: its result is tainted, and nothing may look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from triton_gym.evaluation.recording import (
    filling,  # noqa: F401  (registers its handlers, as the others do)
    gathering,
    looks,
    movement,
    standin,
)
from triton_gym.evaluation.recording.handlers import FILLS, HANDLERS, known
from triton_gym.evaluation.recording.memory import Taint
from triton_gym.evaluation.recording.recorder import KNOWN_FILL, Recorder, is_standin

aten = torch.ops.aten
_CUDA_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


class Dispatch(TorchDispatchMode):
    """Takes PyTorch's operators while host code runs. Use as a context manager."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping would import the whole of torch.compile, for a second

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if isinstance(func, HigherOrderOperator):
            return func(*args, **given)
        standins = [leaf for leaf in tree_leaves((args, given)) if is_standin(leaf)]
        device = given.get("device")
        on_device = device is not None and torch.device(device).type == "cuda"
        if not standins and not on_device:
            return func(*args, **given)
        if func.namespace not in ("aten", "prims"):
            with self:  # an operator of the answer's own
                return func.redispatch(_CUDA_KEYS, *args, **given)
        return Operation(self._recorder, func, args, given, standins).run()


class Operation:
    """One operator that concerns the device.

    Args:
        recorder: takes its steps.
        func: the operator.
        args, kwargs: as it was called.
        standins: the stand-ins among them.
    """

    def __init__(
        self, recorder: Recorder, func: OpOverload, args: tuple[Any, ...],
        kwargs: dict[str, Any], standins: list[torch.Tensor],
    ) -> None:  # fmt: skip
        self.recorder = recorder
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.standins = standins
        self.name = func._schema.name.partition("::")[2]

    def run(self) -> Any:
        """What the operator returns."""
        if self.func is aten._unsafe_view.default:
            self.func = aten.view.default
        if self._is_view():
            return self._view()
        memories = [self.recorder.memory_of(tensor) for tensor in self.standins]
        known = all(memory.known for memory in memories)
        small = sum(tensor.nbytes for tensor in self.standins) <= KNOWN_FILL
        handler = HANDLERS.get(self.func)
        there = not (known and small) or movement.keeps_knowledge(self)
        if handler is not None and (there or self.func in FILLS):
            result = handler(self)
            if result is not NotImplemented:
                return result
        if all(memory.known for memory in memories):
            return self._on_host()
        if self.name.endswith("_out") or "out" in self.kwargs:
            return self._into_out()
        general = gathering.general(self)
        if general is not NotImplemented:
            return general
        return self._tainted(self.taint)

    @property
    def taint(self) -> Taint:
        """What a result that was not computed is marked with."""
        memories = (self.recorder.memory_of(tensor) for tensor in self.standins)
        before = next((m.taint for m in memories if m.taint is not None), None)
        return before or Taint(self.name, self.recorder.line())

    # Views.

    def _is_view(self) -> bool:
        if not self.standins:
            return False
        if self.func.is_view:
            return True
        returns = self.func._schema.returns
        return any(r.alias_info is not None and not r.alias_info.is_write for r in returns)

    def _view(self) -> Any:
        source = self.args[0]
        made = self.on_meta()

        def view(meta: Any) -> Any:
            if not isinstance(meta, torch.Tensor):
                return meta
            if meta.dtype == source.dtype:
                return standin.restrided(source, meta.size(), meta.stride(), meta.storage_offset())
            memory = self.recorder.memory_of(source)
            address = memory.buffer.address + int(meta.storage_offset()) * meta.itemsize
            return self.recorder.tensor_in(memory, meta.dtype, meta.size(), meta.stride(), address)

        return tree_map(view, made)

    def on_meta(self, func: Any = None, args: Any = None, kwargs: Any = None) -> Any:
        """What an operator returns for tensors without contents and device: shapes alone."""
        func = func or self.func
        given = self.kwargs if kwargs is None else kwargs
        with _disable_current_modes():
            made, named = tree_map(_meta, (self.args if args is None else args, given))
            if "device" in named:
                named["device"] = torch.device("meta")
            named.pop("pin_memory", None)
            return func(*made, **named)

    # Operators on known memory.

    def _on_host(self) -> Any:
        """Run the operator on mirrors. What it wrote to is written; what it made is known."""
        schema = self.func._schema
        written: set[int] = set()
        for argument, value in self._arguments():
            if argument.alias_info is not None and argument.alias_info.is_write:
                written |= {id(leaf) for leaf in tree_leaves(value) if is_standin(leaf)}
        back: dict[int, torch.Tensor] = {}

        def mirrored(value: Any) -> Any:
            if not is_standin(value):
                return value
            memory = self.recorder.memory_of(value)
            host = memory.as_known(value, written=id(value) in written)
            back[id(host)] = value
            return host

        with _disable_current_modes():
            args, kwargs = tree_map(mirrored, (self.args, self.kwargs))
            device = kwargs.get("device")
            if device is not None and torch.device(device).type == "cuda":
                kwargs["device"] = torch.device("cpu")
            kwargs.pop("pin_memory", None)
            result = self.func(*args, **kwargs)
        stays = self._leaves_device()
        if any(r.alias_info is not None for r in schema.returns):
            return tree_map(lambda made: back.get(id(made), made), result)
        return tree_map(
            lambda made: self._upload(made) if isinstance(made, torch.Tensor) and not stays
            else made, result,
        )  # fmt: skip

    def _leaves_device(self) -> bool:
        device = self.kwargs.get("device")
        return device is not None and torch.device(device).type == "cpu"

    def _upload(self, made: torch.Tensor) -> torch.Tensor:
        return known(self.recorder, made)

    def _arguments(self) -> Any:
        """Every argument with its declaration."""
        declared = self.func._schema.arguments
        yield from zip(declared, self.args, strict=False)
        named = {argument.name: argument for argument in declared}
        for name, value in self.kwargs.items():
            yield named[name], value

    # Operators that PyTorch would compute.

    def _into_out(self) -> Any:
        """An operator that writes to a tensor it was given: its plain form, and a copy."""
        out: Any = self.kwargs.get("out")
        plain = _plain_form(self.func)
        if plain is None or not is_standin(out):
            return self._tainted(self.taint)
        kwargs = {name: value for name, value in self.kwargs.items() if name != "out"}
        with Dispatch(self.recorder):
            made = plain(*self.args, **kwargs)
            if out.size() != made.size():
                out.resize_(made.size())
            out.copy_(made)
        return out

    def _tainted(self, taint: Taint) -> Any:
        for argument, value in self._arguments():
            if argument.alias_info is not None and argument.alias_info.is_write:
                for leaf in tree_leaves(value):
                    if is_standin(leaf):
                        self.recorder.memory_of(leaf).spoil(taint)
        schema = self.func._schema
        if any(r.alias_info is not None for r in schema.returns):
            if len(schema.returns) == 1 and self.args:
                return self.kwargs.get("out", self.args[0])
        try:
            made = self.on_meta()
        except (NotImplementedError, RuntimeError) as error:
            return looks.by_values(self, error)

        def result(meta: Any) -> Any:
            if not isinstance(meta, torch.Tensor):
                return meta
            found = self.recorder.empty(meta.size(), meta.stride(), meta.dtype)
            self.recorder.memory_of(found).spoil(taint)
            return found

        return tree_map(result, made)


def _meta(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_meta:
        return value
    if not value.is_cuda:
        return value if not value.dim() else value.to("meta")
    storage = torch.UntypedStorage(value.untyped_storage().nbytes(), device="meta")
    empty = torch.empty(0, dtype=value.dtype, device="meta")
    return empty.set_(storage, value.storage_offset(), value.size(), value.stride())


def _plain_form(func: OpOverload) -> Callable[..., Any] | None:
    """The overload of an operator with the same arguments but `out`."""
    wanted = [a.name for a in func._schema.arguments if not a.is_out]
    packet = func.overloadpacket
    for name in packet.overloads():
        other: OpOverload = getattr(packet, name)
        if [a.name for a in other._schema.arguments] == wanted:
            return other
    return None
