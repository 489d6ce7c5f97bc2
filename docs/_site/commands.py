"""The command line's page: what `--help` says of every command."""

from __future__ import annotations

from pathlib import Path

import click
import typer

from triton_gym import cli

SKIPPED = {"--help", "--install-completion", "--show-completion"}


def write(path: Path) -> None:
    """Write the page, if it is not the same."""
    command = typer.main.get_command(cli.app)
    parts = ["# Command line", "`triton-gym COMMAND --help` says the same in a terminal."]
    parts += [_section(name, one) for name, one in _commands("triton-gym", command)]
    text = "\n\n".join(parts) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _commands(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not hasattr(command, "commands"):
        return [(name, command)]
    inner = [_commands(f"{name} {word}", one) for word, one in command.commands.items()]
    return [one for some in inner for one in some]


def _section(name: str, command: click.Command) -> str:
    lines = [f"## {name}", _plain(command.help or "")]
    rows = [
        f"| {shown} | {_plain(getattr(one, 'help', '') or '')} |"
        for one in command.params
        if (shown := _name(one)) and not SKIPPED & set(one.opts)
    ]
    if rows:
        lines.append("\n".join(["| | |", "|---|---|", *rows]))
    return "\n\n".join(filter(None, lines))


def _name(parameter: click.Parameter) -> str:
    option = parameter.param_type_name == "option"
    names = parameter.opts if option else [str(parameter.name)]
    return ", ".join(f"`{name}`" for name in names)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
