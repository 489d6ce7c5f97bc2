"""`triton-gym serve`: tools for coding agents."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from triton_gym.errors import InvalidOptionError

TOKEN = "TRITON_GYM_TOKEN"


def serve(
    device: Annotated[str, typer.Option(help="auto, cuda, cuda:1, simulated, ...")] = "auto",
    baseline: Annotated[str, typer.Option(help="What speedups are against.")] = "eager",
    workers: Annotated[int, typer.Option(help="Evaluations at a time; 0 for a default.")] = 0,
    store: Annotated[str, typer.Option(help="File of outcomes found before.")] = "",
    http: Annotated[bool, typer.Option("--http", help="Over HTTP instead of stdio.")] = False,
    host: Annotated[str, typer.Option(help="Beyond loopback a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[str, typer.Option(envvar=TOKEN, help="Bearer token over HTTP.")] = "",
) -> None:
    """Serve tools to coding agents (MCP): list, evaluate, edit and profile kernels."""
    try:
        from triton_gym.integrations import tools
    except ModuleNotFoundError as error:
        raise InvalidOptionError(
            f"`triton-gym serve` needs the package {error.name!r}: pip install 'triton-gym[mcp]'."
        ) from None
    from triton_gym.evaluation.service.evaluator import Evaluator

    if http:
        tools.check_exposure(host, token)
    os.environ.pop(TOKEN, None)  # no process that is started needs it
    with Evaluator(device, workers=workers or None, store=store or None) as evaluator:
        server = tools.make_server(evaluator, baseline)
        if not http:
            server.run("stdio")
            return
        import uvicorn

        app = tools.application(server, host=host, token=token)
        uvicorn.run(app, host=host, port=port, log_level="warning")
