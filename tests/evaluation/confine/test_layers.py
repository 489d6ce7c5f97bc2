"""Every layer by itself, in every version of the kernel's; and none is missing in silence.

The probes run in a bare Python process, which is held to the layers that a test names.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import triton_gym
from triton_gym.evaluation.confine import layers as layer_list
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.workers.sandbox import Limits

HERE = layer_list.available()
ROOT = Path(triton_gym.__file__).parent.parent


def needs(*wanted: Layer):
    """Run where the machine has these layers: elsewhere there is nothing to test."""
    missing = sorted(set(wanted) - HERE)
    return pytest.mark.skipif(bool(missing), reason=f"this kernel has no {', '.join(missing)}")


def test_a_missing_layer_is_said_once(monkeypatch, recwarn):
    from triton_gym.errors import ConfinementWarning
    from triton_gym.evaluation.confine import landlock, seccomp

    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(seccomp, "available", lambda: False)
    monkeypatch.setattr(layer_list, "_warned", set())
    assert layer_list.available() == {Layer.LIMITS, Layer.CAPABILITIES}
    with pytest.warns(ConfinementWarning, match="use the network"):
        layer_list.warn_of_missing()
    recwarn.clear()
    layer_list.warn_of_missing()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("abi", "lost"),
    [
        (1, {Layer.FILES, Layer.TCP}),  # seccomp still keeps signals and peers
        (2, {Layer.TCP}),
        (3, {Layer.TCP}),
        (4, set()),
        (7, set()),
    ],
)
def test_each_version_of_landlock_holds_what_it_can(abi, lost, monkeypatch):
    from triton_gym.evaluation.confine import landlock, seccomp

    monkeypatch.setattr(landlock, "abi", lambda: abi)
    monkeypatch.setattr(seccomp, "available", lambda: True)
    monkeypatch.setattr(layer_list, "knows_no_new_privileges", lambda: True)
    assert ALL - layer_list.available() == lost


def test_doctor_says_what_its_absence_costs(monkeypatch):
    from triton_gym.cli import findings
    from triton_gym.evaluation.confine import landlock, seccomp

    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(seccomp, "available", lambda: False)
    rows = {row.part: row for row in findings.confinement()}
    assert not rows["files confined"].ok
    assert "open the GPU's device files" in rows["files confined"].cost
    monkeypatch.undo()
    for row in findings.confinement():
        assert bool(row.cost) != row.ok


@contextlib.contextmanager
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@needs(Layer.TCP)
def test_landlock_alone_keeps_tcp_out(tmp_path):
    with listening() as port:
        found = alone(
            {Layer.TCP}, tmp_path,
            f"""
import socket
found["connect"] = told(lambda: socket.create_connection(("127.0.0.1", {port}), 5))
found["listen"] = told(lambda: socket.socket().bind(("127.0.0.1", 0)))
""",
        )  # fmt: skip
    assert found == {"connect": 13, "listen": 13}


def alone(held, folder, code, **fields):
    """What code finds in a bare process that is held to some layers only."""
    script = f"""
import dataclasses, json, os, signal
from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.workers.sandbox import Limits, Sandbox

def told(attempt):
    try:
        attempt()
    except OSError as error:
        return error.errno
    return 0

sandbox = Sandbox.make(layers=frozenset(map(Layer, {sorted(map(str, held))})))
sandbox = dataclasses.replace(sandbox, **{fields})
sandbox.restrict({str(folder)!r}, Limits())
found = {{}}
{code}
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60,
        cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs(Layer.FILES)
@pytest.mark.parametrize("abi", [2, 3, 4, 5, 6, 7])
def test_files_are_held_by_every_version(abi, tmp_path):
    from triton_gym.evaluation.confine import landlock

    if landlock.abi() < abi:
        pytest.skip(f"this kernel has no Landlock ABI {abi}")
    found = alone(
        {Layer.FILES, Layer.METADATA}, tmp_path,
        """
found["home"] = told(lambda: os.listdir("/root" if os.getuid() == 0 else "/home"))
found["own"] = told(lambda: open("own", "w").write("x"))
found["shorter"] = told(lambda: os.truncate("own", 0))
""",
        abi=abi,
    )  # fmt: skip
    assert found == {"home": 13, "own": 0, "shorter": 1}


@needs(Layer.SIGNALS, Layer.SOCKETS)
def test_seccomp_keeps_signals_in_where_landlock_cannot(tmp_path):
    found = alone(
        {Layer.SIGNALS}, tmp_path,
        """
found["parent"] = told(lambda: os.kill(os.getppid(), 0))
found["everyone"] = told(lambda: os.kill(-1, 0))
found["itself"] = told(lambda: os.kill(os.getpid(), 0))
signal.raise_signal(signal.SIGCONT)
""",
        abi=4,
    )  # fmt: skip
    assert found == {"parent": 1, "everyone": 1, "itself": 0}


def test_a_thread_that_runs_already_is_noticed(tmp_path):
    from triton_gym.evaluation.workers.sandbox import Sandbox, Unconfined

    thread = threading.Thread(target=time.sleep, args=(0.5,))
    thread.start()
    with pytest.raises(Unconfined, match="thread"):
        Sandbox(frozenset(), None, 0, False).restrict(str(tmp_path), Limits())
    thread.join()
