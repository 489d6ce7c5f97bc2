"""The rules that keep the house easy to see."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import triton_gym

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"errors", "printing", "outcome", "spaces", "syntax"},
    {"task", "action", "device", "knobs"},
    {"composition"},
    {"evaluation"},
    {"observation", "reward"},
    {"env", "episode", "tables", "tuning", "vector", "wrappers", "runs", "prompt"},
    {"registration", "suites", "audit"},
    {"verification"},
    {"report"},
    {"integrations", "benchmark", "optimization"},
    {"cli"},
    {"__main__"},
]
ROOMS = [
    {"sizes"},
    {"faults", "trees"},
    {"comparison", "oracle", "writing"},
    {"reference"},
    {"check", "plan"},
    {"conditioning", "fingerprint", "modules", "timing"},
    {"units"},
    {"admission", "profile"},
    {"confine", "screening", "exchange"},
    {"simulate"},
    {"workers"},
    {"compiling"},
    {"recording"},
    {"judging"},
    {"backends"},
    {"records"},
    {"service"},
]
"""Of `evaluation/`, lowest first."""
LAZY = {("env", "registration")}


def floor_of(module: str) -> int:
    for number, names in enumerate(FLOORS):
        if module in names:
            return number
    raise AssertionError(f"triton_gym/{module} is on no floor of the house")


def imports(path: Path, *, inner: bool = False) -> set[str]:
    """Modules that a file imports at its top level, or `inner` ones too, absolutely named."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if inner else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (
                not node.level
                or path.is_relative_to(ROOT / "envs")
                or path.is_relative_to(ROOT / "agents")
            ), f"{path} imports relatively"
            if not node.level:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("triton_gym.")}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "triton_gym").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_down(path):
    home = path.relative_to(ROOT / "triton_gym").parts[0].removesuffix(".py")
    if home == "__init__":
        return
    for name in imports(path):
        other = name.split(".")[1]
        assert other not in {"envs", "agents"}, f"{path} imports {name}"
        assert floor_of(other) <= floor_of(home), f"{path} imports {name} from a floor above"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "triton_gym" / "evaluation").rglob("*.py")),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_rooms_of_the_evaluation_point_down(path):
    height = {name: number for number, names in enumerate(ROOMS) for name in names}
    home = path.relative_to(ROOT / "triton_gym" / "evaluation").parts[0].removesuffix(".py")
    if home == "__init__":
        return
    assert home in height, f"{path} is in no room"
    for name in imports(path, inner=True):
        _, floor, *room = name.split(".")
        if floor == "evaluation" and room[0] != home:
            assert height[room[0]] < height[home], f"{path} imports {name} from beside or above"


@pytest.mark.parametrize("folder", ["envs", "agents"])
def test_envs_and_agents_never_import_each_other(folder):
    other = {"envs": "agents", "agents": "envs"}[folder]
    for path in (ROOT / folder).rglob("*.py"):
        assert f"triton_gym.{other}" not in path.read_text(), path


def test_the_package_list_is_the_folders():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {"triton_gym"}
    for top, name in (("triton_gym", "triton_gym"), ("envs", "triton_gym.envs"),
                      ("agents", "triton_gym.agents")):  # fmt: skip
        for init in (ROOT / top).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / top).parts
            found.add(".".join([name, *inner]))
    assert listed == found


def test_a_folder_of_the_catalogue_needs_no_line_anywhere():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert [name for name in setup["packages"] if ".envs" in name] == ["triton_gym.envs"]
    assert setup["package-data"]["triton_gym.envs"] == ["**/*.py"]
    assert list((ROOT / "envs").rglob("__init__.py")) == [ROOT / "envs" / "__init__.py"]


def test_public_names_are_few_and_there():
    assert len(triton_gym.__all__) <= 30
    assert triton_gym.__all__ == sorted(triton_gym.__all__)
    for name in triton_gym.__all__:
        assert getattr(triton_gym, name) is not None


def test_importing_loads_neither_torch_nor_triton():
    code = "import sys, triton_gym; sys.exit(bool({'torch', 'triton'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_interpreter_of_the_simulated_device_loads_no_torch():
    """Importing it takes seconds, and every fork of such a process would carry it."""
    code = (
        "import sys\n"
        "from triton_gym.evaluation.backends.simulated import server\n"
        "server.prepare()\n"
        "sys.exit(bool({'torch', 'triton'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_texts_are_read_and_written_as_utf8():
    """Whatever the locale says: our own files hold µ and ×, and so do kernels."""
    for folder in ("triton_gym", "agents", "envs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    if node.func.attr in ("read_text", "write_text"):
                        named = {keyword.arg for keyword in node.keywords}
                        assert "encoding" in named, f"{path}:{node.lineno}"


def test_no_grab_bags():
    for path in ROOT.glob("[tea]*/**/*.py"):
        assert path.stem not in {"utils", "common", "helpers", "misc"}, path
