"""Which arguments of a kernel lead to the memory that it reads, writes, and decides by."""

from __future__ import annotations

from dataclasses import dataclass

from triton_gym.evaluation.simulate.interpreter.deciding import deciding
from triton_gym.evaluation.simulate.interpreter.types import Module, Operation, callee

_LOADS = ("tt.load", "tt.descriptor_load", "tt.descriptor_gather")
_STORES = ("tt.store", "tt.descriptor_store", "tt.descriptor_reduce", "tt.descriptor_scatter")
_ATOMICS = ("tt.atomic_rmw", "tt.atomic_cas")


@dataclass(frozen=True, slots=True)
class Origins:
    """Numbers of a kernel's arguments (of its IR). What cannot be told leads to all of them."""

    read: frozenset[int]
    written: frozenset[int]
    deciding: frozenset[int]
    """Whose contents decide what is accessed, how often, and which way it goes."""


def origins_of(module: Module) -> Origins:
    """What a kernel's arguments are for."""
    everything = frozenset(range(len(module.kernel.arguments)))
    leads = _leads(module)
    decides = deciding(module)
    read: set[int] = set()
    written: set[int] = set()
    decided: set[int] = set()
    for function in module.functions.values():
        for operation in function.operations():
            if not operation.operands:
                continue
            way = leads.get(operation.operands[0]) or everything
            atomic = operation.name in _ATOMICS
            if operation.name in _STORES or atomic:
                written |= way
            if operation.name in _LOADS or atomic:
                read |= way
                if any(name in decides for name, _ in operation.results):
                    decided |= way
    return Origins(frozenset(read), frozenset(written), frozenset(decided))


def _leads(module: Module) -> dict[str, frozenset[int]]:
    """For each value, the arguments that it is made of."""
    kernel = module.kernel
    leads = {name: frozenset((at,)) for at, (name, _) in enumerate(kernel.arguments)}
    operations = [o for f in module.functions.values() for o in f.operations()]
    while True:
        before = dict(leads)
        for operation in operations:
            _follow(module, operation, leads)
        if leads == before:
            return leads


def _follow(module: Module, operation: Operation, leads: dict[str, frozenset[int]]) -> None:
    if operation.name in (*_LOADS, *_ATOMICS):
        return  # what lies in memory is another matter
    made = frozenset[int]().union(*(leads.get(name, frozenset()) for name in operation.operands))
    inner = [b for region in operation.regions for b in region]
    for block in inner:
        last = block.operations[-1].operands if block.operations else []
        made = made.union(*(leads.get(name, frozenset()) for name in last))
    names = [name for name, _ in operation.results]
    names += [name for block in inner for name, _ in block.arguments]
    for label, values in operation.targets:
        for function in module.functions.values():
            for block in function.blocks:
                if block.name == label:
                    for (name, _), value in zip(block.arguments, values, strict=False):
                        found = leads.get(value, frozenset())
                        leads[name] = leads.get(name, frozenset()) | found
    if operation.name == "tt.call" and (called := module.functions.get(callee(operation))):
        names += [name for name, _ in called.arguments]
    for name in names:
        leads[name] = leads.get(name, frozenset()) | made
