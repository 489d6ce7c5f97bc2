"""What a style of honest answers is, and the pieces that many are made of."""

from __future__ import annotations

from dataclasses import dataclass

RUN = "y = $make\n$launch\nreturn y"
COPY = """@triton.jit
def copy_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < size), mask=i < size)
"""
MULTIPROCESSORS = "count = torch.cuda.get_device_properties($x.device).multi_processor_count\n"


@dataclass(frozen=True, slots=True)
class Style:
    """A way to write the same answer, as templates (see `victims.Victim.fill`)."""

    name: str
    body: str = RUN
    module: str = ""
    imports: str = ""
    decorators: str = ""
    host: str = ""


def copied(launch: str) -> str:
    """A host function that has a second kernel copy the result from `z` to `y`."""
    return f"z = $make\ny = z\n$launch\ny = torch.empty_like(z)\n{launch}\nreturn y"
