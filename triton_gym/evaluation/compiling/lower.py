"""Triton's own pipeline from its IR to machine code; runs in a process of ours (`server.py`)."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_gym.evaluation.compiling.artifact import Target
from triton_gym.evaluation.compiling.options import (
    InvalidOption,
    allowed_options,
    check_derived,
)
from triton_gym.evaluation.simulate.machine_code.ptxas import limited

_ASSEMBLY = re.compile(r'\basm\b[a-z ]* "([^"]*)"')
"""Inline assembly in LLVM's IR, which is printed anew: what is not plain ASCII is escaped there."""
_LOCAL = re.compile(r"\.local\b|\balloca\b")
TEXTS = ("ttgir", "llir", "ptx")
DIALECTS = {"ttir": "TRITON", "gluon": "GLUON"}
"""In what form a kernel comes, with Triton's name of its language: after Triton's own first stage,
or as Gluon's front end makes it."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """What Triton made of a kernel."""

    cubin: bytes
    metadata: dict[str, Any]
    """Plain values, as Triton writes them into its cache."""
    texts: dict[str, str]


def lower(
    ttir: str, options: Mapping[str, Any], target: Target, seconds: float, dialect: str = "ttir"
) -> Lowered:
    """Compile a kernel from Triton's IR, as Triton itself would go on from there.

    Args:
        ttir: the kernel in Triton's IR, as text with locations.
        options: fields of Triton's `CUDAOptions`.
        target: what to compile for.
        seconds: limit of ptxas.
        dialect: see `DIALECTS`.

    Raises:
        InvalidOption: an option is not allowed.
        Exception: whatever Triton raises where it cannot compile the kernel.
    """
    from triton import __version__, knobs
    from triton.backends.compiler import GPUTarget, Language
    from triton.compiler.compiler import make_backend

    gpu = GPUTarget("cuda", target.architecture, 32)
    backend = make_backend(gpu)
    # The default changes with Triton 3.10; results must not.
    parsed = backend.parse_options({"enable_fp_fusion": True, **allowed_options(options)})
    check_derived(options, parsed.__dict__)
    module = _parsed(ttir, context_of(backend))
    metadata = {"target": gpu, **parsed.__dict__, "triton_version": __version__}
    stages: dict[str, Any] = {}
    backend.add_stages(stages, parsed, Language[DIALECTS[dialect]])
    made: Any = module
    texts = {}
    with limited(seconds), knobs.compilation.scope():
        knobs.compilation.disable_line_info = not target.lines
        for name, stage in list(stages.items())[list(stages).index("ttgir") :]:
            made = stage(made, metadata)
            if name in TEXTS:
                texts[name] = str(made)
            if name == "llir":
                _hold_assembly(texts[name])
    return Lowered(bytes(made), json.loads(json.dumps(metadata, default=vars)), texts)


def context_of(backend: Any) -> Any:
    """MLIR's context for a backend's kernels.

    Loading its dialects takes a tenth of what Triton's front end takes for a kernel. So a process
    has one, which is there before it is forked.
    """
    from triton._C.libtriton import ir

    kind = type(backend)
    if kind not in _contexts:
        context = _contexts[kind] = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
    return _contexts[kind]


_contexts: dict[type, Any] = {}


def _hold_assembly(llir: str) -> None:
    """See that no inline assembly has local memory of its own.

    It would find there what another answer's kernels left. What the compiler puts there, spilled
    registers and arrays, is written before it is read.
    """
    for text in _ASSEMBLY.findall(llir):
        if _LOCAL.search(text):
            raise InvalidOption(
                "Inline assembly may not use local memory (`.local`, `alloca`): another kernel's "
                "values may lie there."
            )


def _parsed(ttir: str, context: Any) -> Any:
    """The module that a text describes. Triton reads files only."""
    from triton._C.libtriton import ir

    with tempfile.NamedTemporaryFile("w", suffix=".ttir") as file:
        file.write(ttir)
        file.flush()
        module = ir.parse_mlir_module(file.name, context)
    module.context = context
    return module
