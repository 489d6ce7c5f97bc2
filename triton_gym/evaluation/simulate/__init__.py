"""The simulated device."""


def prepare(*, interpret: bool) -> None:
    """Placeholder until the interpreter's patches land."""
