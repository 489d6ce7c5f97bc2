"""What a worker may read is what Python and its tools need, and nothing that is private."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

import triton_gym
from triton_gym.evaluation.confine import places


def within(path, folder):
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@pytest.fixture
def tree(tmp_path):
    for name in ("lib/a.py", "own/deep/secret/key", "own/deep/tool", "own/x", "readme"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    return tmp_path


def test_what_is_private_is_gone_around(tree):
    found = set(places._around(str(tree), (str(tree / "own/deep/secret"),)))
    assert found == {str(tree / n) for n in ("lib", "readme", "own/deep/tool", "own/x")}


def test_what_is_private_itself_is_never_opened(tree):
    assert list(places._around(str(tree / "own"), (str(tree / "own"),))) == []
    # What lies in something private can be: a virtual environment in a home, say.
    assert list(places._around(str(tree / "lib"), (str(tree),))) == [str(tree / "lib")]


def test_folders_in_others_need_no_rule_of_their_own():
    assert places._outermost(["/usr/lib", "/usr", "/usr2", "/opt/a"]) == ["/opt/a", "/usr", "/usr2"]


def test_the_places_of_this_machine():
    found = [path for path, _ in places.find().rules]
    home, here = os.path.expanduser("~"), os.getcwd()
    for private in ("/", home, here, tempfile.gettempdir(), "/tmp", "/dev/shm", "/proc"):
        assert not any(within(os.path.realpath(private), path) for path in found), private
    for answers in ("envs/core/softmax/expert.py", "triton_gym/audit/honest.py"):
        file = str(Path(triton_gym.__file__).parent.parent / answers)
        assert not any(within(file, path) for path in found), answers
    for needed in (os.__file__, pytest.__file__, triton_gym.__file__, "/usr/bin/env"):
        assert any(within(os.path.realpath(needed), path) for path in found), needed


def test_a_project_on_the_path_is_no_package_folder(tmp_path, monkeypatch):
    project, installed = tmp_path / "project", tmp_path / "installed"
    (project / "thing.egg-info").mkdir(parents=True)
    (installed / "thing-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.syspath_prepend(str(installed))
    found = set(places._packages())
    assert str(installed) in found
    assert str(project) not in found


def test_a_current_folder_that_was_removed_is_no_obstacle(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert places.find().rules
