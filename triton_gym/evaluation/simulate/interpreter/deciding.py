"""What decides a kernel's accesses and ways, and all that need not be computed to follow them."""

from __future__ import annotations

from triton_gym.evaluation.simulate.interpreter.types import Function, Module, Operation


def deciding(module: Module) -> set[str]:
    """Values that decide what a kernel accesses, how often, and which way it goes.

    Values of stores and products are none of them, unless an address or a condition is made of
    them.
    """
    needed: set[str] = set()
    operations = [o for f in module.functions.values() for o in f.operations()]
    for operation in operations:
        for place, name in enumerate(operation.operands):
            if _decides(operation, place):
                needed.add(name)
    while True:
        before = len(needed)
        for function in module.functions.values():
            _spread(function, needed)
        if len(needed) == before:
            return needed


def _decides(operation: Operation, place: int) -> bool:
    """Whether an operand decides, for itself."""
    name, last = operation.name, len(operation.operands) - 1
    if name in ("tt.store", "tt.load"):
        return place in (0, 2) if name == "tt.store" else place < 2
    if name in ("tt.atomic_rmw", "tt.atomic_cas", "tt.call", "tt.return", "tt.assert", "tt.gather"):
        return True
    if name in ("tt.descriptor_store", "tt.descriptor_reduce"):
        return place < last
    if name == "tt.descriptor_load":
        return True
    if name == "scf.for":
        return place < 3
    return name in ("scf.if", "scf.condition", "cf.cond_br", "cf.br") and (
        place == 0 or name == "cf.br"
    )


def _spread(function: Function, needed: set[str]) -> None:
    """Add what needed values are made of, once over."""
    labels = {block.name: block for block in function.blocks}
    for operation in reversed(list(function.operations())):
        results = [name for name, _ in operation.results]
        for _, values in operation.targets:
            needed.update(values)
        for label, _ in operation.targets:
            needed.update(name for name, _ in labels[label].arguments)
        if operation.name == "scf.for":
            block = operation.regions[0][0]
            yields = block.operations[-1].operands if block.operations else []
            carried = zip(operation.operands[3:], block.arguments[1:], results, strict=False)
            for place, (init, (argument, _), result) in enumerate(carried):
                if result in needed or argument in needed:
                    needed.update((init, argument, result, yields[place]))
        elif operation.name == "scf.if":
            for place, result in enumerate(results):
                if result in needed:
                    needed.update(r[0].operations[-1].operands[place] for r in operation.regions)
        elif operation.name == "scf.while":
            needed.update(operation.operands)
            for region in operation.regions:
                needed.update(name for name, _ in region[0].arguments)
                needed.update(region[0].operations[-1].operands)
            needed.update(results)
        elif any(result in needed for result in results):
            needed.update(operation.operands)
            for region in operation.regions:
                needed.update(n for b in region for o in b.operations for n in o.operands)
