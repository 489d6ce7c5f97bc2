"""A problem with what keeps it from being judged taken away, which its task then says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from triton_gym.suites.shapes import Form
from triton_gym.task import Case, Kind

if TYPE_CHECKING:
    import torch

SCALES = (16.0, 2.0**12, 1 / 16, 2.0**20)
"""What inputs are multiplied by where their own range leaves nothing to judge."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """A problem with larger or smaller inputs: of its own every result is cut off alike."""

    form: Form
    factor: float

    @property
    def note(self) -> str:
        """What its task says."""
        return (
            "its own inputs leave nothing to judge, so floating-point ones are multiplied by "
            f"{self.factor:g}"
        )

    @property
    def kind(self) -> Kind:
        """As it was."""
        return self.form.kind

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """Its inputs, multiplied."""
        return tuple(self._scaled(value) for value in self.form.inputs(case, generator))

    def _scaled(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return (value.float() * self.factor).to(value.dtype)
        return value

    def init(self, case: Case) -> tuple[Any, ...]:
        """As it was."""
        return self.form.init(case)

    def reference(self, *arguments: Any) -> Any:
        """As it was."""
        return self.form.reference(*arguments)


@dataclass(frozen=True, slots=True)
class WithoutDropout:
    """A reference whose dropout does nothing: what it drops nobody can foresee."""

    form: Form

    note = "its dropout is off, in the reference that answers are held against"

    @property
    def kind(self) -> Kind:
        """As it was."""
        return self.form.kind

    def inputs(self, case: Case, generator: torch.Generator) -> tuple[Any, ...]:
        """As they were."""
        return self.form.inputs(case, generator)

    def init(self, case: Case) -> tuple[Any, ...]:
        """As it was."""
        return self.form.init(case)

    def reference(self, *arguments: Any) -> Any:
        """The module with its probabilities of dropping set to 0, or the function without it."""
        import torch

        if self.form.kind == Kind.FUNCTION:
            from triton_gym.suites.execution import DropoutOff

            with DropoutOff():
                return self.form.reference(*arguments)
        module = self.form.reference(*arguments)
        if isinstance(module, torch.nn.Module):
            for part in module.modules():
                if isinstance(part, torch.nn.modules.dropout._DropoutNd):
                    part.p = 0.0
                elif isinstance(getattr(part, "dropout", None), float):
                    setattr(part, "dropout", 0.0)  # noqa: B010 - attention and recurrent layers
        return module
