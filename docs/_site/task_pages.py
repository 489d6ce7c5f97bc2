"""A page for each task of the catalogue, made from its contract."""

from __future__ import annotations

import inspect
import math
import textwrap
from pathlib import Path

import triton_gym
from triton_gym.device import gpu_named
from triton_gym.evaluation.profile import speed_of_light
from triton_gym.evaluation.units import peak_tflops
from triton_gym.task import Task

from .results import Time, times
from .roofline import Mark, Roof, picture

GPU = "h200"
"""Whose limits the pictures show: most times are of it."""


def write(folder: Path) -> None:
    """Write `<task>.md` and `<task>.svg` of the whole catalogue; files that are the same stay."""
    folder.mkdir(exist_ok=True)
    known = times()
    made = set()
    for name in triton_gym.tasks():
        task, seen = triton_gym.load(name), known.get(name, [])
        for file, text in (
            (folder / f"{name}.md", page(task, seen)),
            (folder / f"{name}.svg", drawing(task, seen)),
        ):
            made.add(file)
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                file.write_text(text, encoding="utf-8")
    for file in set(folder.iterdir()) - made:
        file.unlink()


def page(task: Task, seen: list[Time]) -> str:
    """A task's page as Markdown."""
    formula, source = _docstring(task)
    folder = Path(inspect.getfile(task.reference)).parent
    suite, *categories = task.tags
    parts = [
        f"# {task.title}",
        f"`TritonKernel-{task.name}-v{task.version}` · suite {suite} · {', '.join(categories)}",
        f"## What is asked\n\n{_escaped(task.statement)}",
        f"```python\n{task.signature}\n```",
        f"## Formula\n\n{_escaped(formula)}\n\n```python\n{_code(task)}\n```",
        source and f"Source: {_escaped(source)}",
        f"## Sizes\n\n{_sizes(task)}",
        f"## Roofline\n\n![Roofline of {task.title.lower()}]({task.name}.svg)\n\n{_light(task)}",
        f"## Times\n\n{_times(seen)}",
        f"## Knobs\n\n{_knobs(task)}",
        "## Answers\n\n" + _answer("The starter: correct and plain", task.starter)
        + "\n\n" + _answer("The expert: the best one known here", task.expert),
        f"The contract is `envs/{suite}/{folder.name}/task.py`.",
    ]  # fmt: skip
    return "\n\n".join(filter(None, parts)) + "\n"


def drawing(task: Task, seen: list[Time]) -> str:
    """Its roofline, with the measured times of the first timed case."""
    case, gpu = task.bench[0], gpu_named(GPU)
    light = speed_of_light(task, case, gpu)
    # Work without arithmetic has no place on the axis: an operation a value stands for it.
    flops = light.flops or light.bytes / 4
    roof = Roof(GPU.upper(), gpu.memory_gbps, peak_tflops(task, case, gpu), flops / light.bytes)
    marks = [
        Mark(time.answer, roof.intensity, flops / time.us / 1e6)
        for time in seen
        if time.case == str(case) and GPU.upper() in time.device and not time.simulated
    ]
    return picture(roof, marks)


def _docstring(task: Task) -> tuple[str, str]:
    """The formula and the source that the reference's documentation states."""
    text = inspect.getdoc(task.reference) or ""
    formula, _, source = text.partition("\n\nSource:")
    return " ".join(formula.split()), " ".join(source.split())


def _code(task: Task) -> str:
    """The reference without its documentation, which stands above."""
    lines = textwrap.dedent(inspect.getsource(task.reference)).splitlines()
    text, documentation = "\n".join(lines), task.reference.__doc__
    return text.replace(f'    """{documentation}"""\n', "") if documentation else text


def _sizes(task: Task) -> str:
    rows = ["| what | sizes and dtype |", "|---|---|"]
    for kind, cases in (("timed", task.bench), ("full size", task.untimed), ("tiny", task.tiny)):
        rows += [f"| {kind} | {case} |" for case in cases]
    if task.drawn is None:
        spans = ", ".join(
            f"{name} {span.low} to {span.high}"
            + (f" in steps of {span.multiple}" if span.multiple > 1 else "")
            for name, span in task.spans.items()
        )
        rows.append(f"| hidden tests | {spans} |")
    else:
        rows.append("| hidden tests | drawn by the contract, so that sizes hang together |")
    return "\n".join(rows)


def _light(task: Task) -> str:
    rows = [
        "| timed size | bytes | FLOPs | FLOPs a byte | least time on an H200 | bound by |",
        "|---|---|---|---|---|---|",
    ]
    for case in task.bench:
        light = speed_of_light(task, case, gpu_named(GPU))
        bound = "memory" if light.memory_us >= light.compute_us else "compute"
        rows.append(
            f"| {case} | {_many(light.bytes)} | {_many(light.flops)} | "
            f"{light.flops / light.bytes:.3g} | {light.floor_us:.1f} µs | {bound} |"
        )
    return "\n".join(rows)


def _times(seen: list[Time]) -> str:
    if not seen:
        return "Not timed yet: `python benchmarks/catalogue.py` does it."
    rows = ["| answer | device | time, µs | commit | file |", "|---|---|---|---|---|"]
    for time in seen:
        spread = "" if time.low_us == time.high_us else f" [{time.low_us:.1f}, {time.high_us:.1f}]"
        rows.append(
            f"| {time.answer} | {time.device} | {time.us:.1f}{spread} | `{time.commit}` "
            f"| `{time.file}` |"
        )
    return "\n".join(rows) + (
        "\n\nIn brackets the 95 % interval of the median; of files `suites-*` what three fifths of "
        "the calls took, where it was kept. What stands behind a figure: "
        "[where figures come from](../figures.md)."
    )


def _knobs(task: Task) -> str:
    if not task.knobs:
        return "None: there is no tuning environment."
    rows = ["| knob | values |", "|---|---|"]
    rows += [f"| `{name}` | {', '.join(map(str, some))} |" for name, some in task.knobs.items()]
    count = math.prod(map(len, task.knobs.values()))
    return "\n".join(rows) + (
        f"\n\n`TritonTune-{task.name}-v{task.version}` chooses among {count:,} configurations "
        "([tuning](../tuning.md))."
    )


def _answer(title: str, source: str) -> str:
    return f"<details><summary>{title}</summary>\n\n```python\n{source.strip()}\n```\n\n</details>"


def _many(number: float) -> str:
    for power, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {name}"
    return f"{number:.3g}"


def _escaped(text: str) -> str:
    """Text of the contract as Markdown that says the same."""
    quoted = text.split("`")  # what stands between backticks is code already
    for at in range(0, len(quoted), 2):
        for sign in "\\*_[]<>$|#~":
            quoted[at] = quoted[at].replace(sign, "\\" + sign)
    return "`".join(quoted)
