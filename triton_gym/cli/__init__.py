"""The command line: `triton-gym envs | show | eval | verify | bench | run | train | score | …`.

Importing this loads no torch; each command loads what it needs.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from triton_gym.errors import TritonGymError
from triton_gym.printing import message, show_anywhere

app = typer.Typer(
    name="triton-gym",
    help="The Gymnasium for GPU kernels: every Triton kernel task is an environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console command. A mistake of the caller is one line and exit code 2."""
    here = os.getcwd()
    if here not in sys.path:  # for `my_module:MyAgent`; a console command has no such entry
        sys.path.insert(0, here)
    show_anywhere()
    try:
        app()
    except TritonGymError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"[red]error:[/red] {escape(message(reason))}", soft_wrap=True)
    sys.exit(2)


from triton_gym.audit import command as audit  # noqa: E402
from triton_gym.cli import (  # noqa: E402
    bench,
    catalogue,
    doctor,
    evaluate,
    export,
    optimize,
    record,
    run,
    score,
    serve,
    store,
    verify,
)
from triton_gym.cli.train import train  # noqa: E402

app.command("envs")(catalogue.envs)
app.command("show")(catalogue.show)
app.command("eval")(evaluate.evaluate)
app.command("times")(evaluate.times)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("optimize")(optimize.optimize)
app.command("record")(record.record)
app.command("export")(export.export)
app.command("run")(run.run)
app.command("score")(score.score)
app.add_typer(train, name="train")
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("audit")(audit.audit)
app.add_typer(store.app, name="store")

__all__ = ["app", "main"]
