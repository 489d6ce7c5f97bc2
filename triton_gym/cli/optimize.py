"""`triton-gym optimize`: a faster kernel for a function of your own."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from triton_gym.cli.interrupts import interruptible
from triton_gym.errors import InvalidOptionError
from triton_gym.printing import message

if TYPE_CHECKING:
    from triton_gym.optimization.handle import Optimization

_LAST = ("finished", "refused", "failed", "died")
"""Events after which a search says no more."""
_GRACE_S = 300.0
"""Seconds beyond its time in which a search may trace and try its last candidate."""


def optimize(
    function: Annotated[
        str | None, typer.Argument(help="my_module:rms_norm; or --resume FOLDER.")
    ] = None,
    examples: Annotated[
        str | None, typer.Option(help="my_module:examples, a list of calls or what makes one.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of search.", min=1)] = 600.0,
    agent: Annotated[
        list[str] | None, typer.Option(help="Who searches; several share the time.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda:1, simulated, …")] = "auto",
    dynamic: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=AXES", help="Axes that vary: x=0 or x=0,1; all if left out."),
    ] = None,
    share: Annotated[float, typer.Option(help="Of the GPU's time, for the search.")] = 1.0,
    against: Annotated[
        str, typer.Option(help="What it runs as: eager, eager-only or compile.")
    ] = "eager",
    seed: Annotated[int, typer.Option(help="Of the search.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Where the run folder is made.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search of this folder.", metavar="FOLDER")
    ] = None,
) -> None:
    """Trace a function, search for a faster kernel, and leave it in the run folder as best.py.

    On a GPU the kernel goes to the cache, too: a program that decorates the same function with
    triton_gym.optimize and the same examples starts with it.
    """
    heard: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    handle = _handle(
        function, examples, resume, heard, out,
        {"seconds": seconds, "agents": tuple(agent or ()), "device": device, "share": share,
         "against": against, "seed": seed, "dynamic": _axes(dynamic) if dynamic else None},
    )  # fmt: skip
    console = Console()
    with interruptible():
        handle.begin()
        try:
            last = _follow(console, heard, seconds, handle)
        except KeyboardInterrupt:
            handle.stop()
            where = handle.report().run_folder
            console.print(f"\nInterrupted. Go on with: triton-gym optimize --resume {where}")
            raise typer.Exit(130) from None
    raise typer.Exit(_told(console, handle, last))


def _handle(
    function: str | None, examples: str | None, resume: Path | None, heard: Any, out: Path,
    options: dict[str, Any],
) -> Optimization:  # fmt: skip
    """The optimisation that the options ask for."""
    import dataclasses

    from triton_gym.optimization import dispatch
    from triton_gym.optimization.handle import Optimization, check_options
    from triton_gym.optimization.spec import Spec

    if resume is not None:
        if not (resume / "spec.pkl").exists():
            raise InvalidOptionError(f"{resume} is no run folder of `triton-gym optimize`.")
        spec = dataclasses.replace(Spec.read(resume), sources=())
    else:
        if function is None:
            raise InvalidOptionError("Give a function as my_module:name, or --resume FOLDER.")
        found = _named(function)
        known = getattr(found, "optimization", None)
        if examples is None and known is None:
            raise InvalidOptionError("Give --examples my_module:examples, calls of the function.")
        given = _named(examples) if examples is not None else known.spec.examples  # type: ignore[union-attr]
        plain = found if known is None else known.swap.function
        spec = Spec(name=dispatch.identifier(plain), function=plain, examples=given, **options)
    check_options(seconds=spec.seconds, share=spec.share, shadow=0, against=spec.against)
    return Optimization(
        spec.function, spec, share=0, backward=None, folder=out, cache=None, fresh=True,
        resume=resume, heard=heard.put,
    )  # fmt: skip


def _named(path: str) -> Any:
    """What `module:name` names.

    Raises:
        InvalidOptionError: there is none.
    """
    import importlib

    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for piece in name.split("."):
            found = getattr(found, piece)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidOptionError(f"{path!r} cannot be imported: {error}.") from None
    return found


def _axes(pairs: list[str]) -> dict[str, tuple[int, ...]]:
    """`x=0,1` as axes by parameter.

    Raises:
        InvalidOptionError: a pair is not of that form.
    """
    found = {}
    for pair in pairs:
        name, _, axes = pair.partition("=")
        try:
            found[name] = tuple(int(axis) for axis in axes.split(","))
        except ValueError:
            raise InvalidOptionError(f"--dynamic takes NAME=0,1; got {pair!r}.") from None
    return found


def _follow(
    console: Console, heard: Any, seconds: float, handle: Optimization
) -> Mapping[str, Any]:
    """Show a search until its last event."""
    began, best = time.monotonic(), 0.0
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("tracing", total=seconds)
        while True:
            try:
                event: Mapping[str, Any] | None = heard.get(timeout=0.5)
            except queue.Empty:
                event = None
            spent = time.monotonic() - began
            progress.update(bar, completed=min(spent, seconds))
            if event is None:
                if handle.wait(0):  # it ended before there was a process
                    return {"event": "failed", "reason": handle.report().search_says}
                if spent > seconds + _GRACE_S:
                    handle.stop()
                    return {"event": "failed", "reason": "the search did not end in its time"}
                continue
            text = _line(event)
            if text:
                progress.console.print(message(text), highlight=False, markup=False)
            if event.get("event") in ("start", "step"):
                best = max(best, event.get("speedup") or 0.0)
                progress.update(bar, description=f"last {event['status']}, best {best:.2f}x")
            if event.get("event") in _LAST:
                return event


def _line(event: Mapping[str, Any]) -> str:
    """An event that is worth a line."""
    kind = event.get("event")
    if kind == "traced":
        routes = "; ".join(f"{name}: {what}" for name, what in event["routes"].items())
        return f"traced for {event['device']}; {routes or 'nothing to start from'}"
    if kind == "start":
        speed = event.get("speedup")
        told = f"{speed:.2f} times as fast" if speed else event.get("message", "")
        return f"start from {event['route']}: {event['status']}, {told}"
    if kind == "candidate":
        if event.get("why"):
            return f"candidate {event['number']} ({event['route']}): {event['why']}"
        ratio = event["device"]
        took = "faster" if event["faster"] else "not shown to be faster"
        return (
            f"candidate {event['number']} ({event['route']}): {took} after "
            f"{event['decided_after']} pairs, {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"
        )
    return str(event.get("text", "")) if kind == "note" else ""


def _told(console: Console, handle: Optimization, last: Mapping[str, Any]) -> int:
    """Say how it went; the exit code."""
    report = handle.report()
    folder = Path(report.run_folder) if report.run_folder else None
    says = str(last.get("says") or last.get("reason"))
    if last.get("event") != "finished":
        console.print(f"[red]{last.get('event')}:[/red] ", end="")
        console.print(message(says), markup=False, highlight=False, soft_wrap=True)
        return 1
    rows = [("found", says), ("tried", json.dumps(last.get("tried", {})))]
    if folder is not None:
        (folder / "report.txt").write_text(f"{report}\n{says}\n", encoding="utf-8")
        best = folder / "best.py"
        rows += [("kernel", str(best))] if best.exists() else []
        rows.append(("run folder", str(folder)))
    for label, text in rows:
        line = f"{label + ':':<12}{message(text)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0
