"""What an answer leaves behind, and whose fault it is if a process is gone."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from triton_gym.evaluation.confine import privileges
from triton_gym.evaluation.confine.kernel import prctl
from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.plan.codec import encode
from triton_gym.evaluation.recording.session import BlobFile
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session
from triton_gym.evaluation.workers.worker_pool import WorkerLost

sys.path.insert(0, str(Path(__file__).parent))
from probing import HEAD, gone, needs, probe, request

DAEMON = """
if os.fork() == 0:
    {leave}
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("daemon.part", "w").write(str(os.getpid()))
        os.rename("daemon.part", "daemon")
        time.sleep(600)
    os._exit(0)
while not os.path.exists("daemon"):
    time.sleep(0.01)
found = int(open("daemon").read())
"""


@needs(Layer.PROCESSES)
def test_a_daemon_ends_with_its_worker(pool):
    daemon, _ = probe(pool, DAEMON.format(leave="pass"))
    assert gone(daemon)


def test_a_daemon_with_a_session_of_its_own_does_too(open_pool):
    # The second line, for kernels that cannot keep it in the worker's group.
    daemon, _ = probe(open_pool, DAEMON.format(leave="os.setsid()"))
    assert gone(daemon)


def test_a_daemon_does_not_outlive_a_killed_fork_server(open_pool):
    # A judge adopts what a fork server leaves; here this process is the judge.
    privileges.adopt_orphans()
    try:
        server, pid, channel = open_pool.fork(Limits())
        with Scratch(HEAD + DAEMON.format(leave="pass") + "time.sleep(600)") as scratch:
            Path(scratch.folder, "judge").write_text("0")
            channel.send({"op": "enter", "folder": scratch.folder, "limits": {}})
            channel.receive(20)
            blobs = BlobFile()
            asked = encode(request(scratch.path, scratch.source, blobs.size))
            channel.send({"op": "plan", "message": asked}, (blobs.fd,))
            blobs.close()
            file = Path(scratch.folder, "daemon")
            while not file.exists():
                time.sleep(0.02)
            daemon = int(file.read_text())
            server._process.kill()
            open_pool.fork(Limits())[2].close()  # a new fork server; the old one is buried
            assert gone(daemon, 1)
            assert gone(pid, 1)
            assert not Path(f"/proc/{daemon}").exists()  # not even as a zombie
            channel.close()
    finally:
        prctl(36, 0)


@pytest.mark.parametrize("what", ["processes", "threads"])
def test_a_bomb_is_put_out(what, pool):
    bomb = {
        "processes": "while True:\n    if os.fork() == 0:\n        time.sleep(600)",
        # Slow enough that their stacks do not reach the memory limit first.
        "threads": "while True:\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "    time.sleep(0.002)",
    }[what]
    started = time.monotonic()
    _, told = probe(pool, bomb, Limits(seconds=30, processes=40))
    assert "processes and threads; 40 are allowed" in told
    assert time.monotonic() - started < 20
    assert probe(pool, "found = 1")[0] == 1


def test_memory_is_counted_over_all_processes(pool):
    hog = """
for _ in range(6):
    if os.fork() == 0:
        block = os.urandom(1 << 20) * 60
        time.sleep(600)
time.sleep(600)
"""
    _, told = probe(pool, hog, Limits(seconds=60, host_bytes=256 << 20))
    assert "256 MiB are allowed" in told


def test_an_answer_that_kills_its_fork_server_is_told_from_the_machine(open_pool):
    with pytest.raises(WorkerLost):
        probe(open_pool, "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")
    assert probe(open_pool, "found = 1")[0] == 1


@needs(Layer.SIGNALS)
def test_killing_everything_kills_nothing_else(pool):
    server = pool._server._process.pid
    _, told = probe(pool, "os.kill(-1, signal.SIGKILL)\ntime.sleep(0.2)\nos.kill(0, 9)")
    assert "SIGKILL" in told
    assert pool._server._process.pid == server
    assert pool._server.alive


def test_a_worker_that_cannot_be_confined_is_no_outcome(pool):
    from triton_gym.errors import EvaluatorError

    with Scratch("") as scratch:
        lost = Session(pool, Limits(), scratch)
    with pytest.raises(EvaluatorError, match="could not be confined"), lost:
        raise AssertionError("it was entered")


def test_a_socket_pair_is_all_there_is(pool):
    # The channel cannot be used to reach anyone else: it has one other end.
    found, _ = probe(
        pool,
        """
kinds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
            kinds[fd] = socket.socket(fileno=os.dup(int(fd))).getpeername()
    except OSError:
        pass
found = list(kinds.values())
""",
    )
    assert found == [""]


def test_signals_of_real_time_have_no_name_and_do_no_harm(pool):
    _, told = probe(pool, "os.kill(os.getpid(), 40)\ntime.sleep(5)")
    assert "signal 40" in told
    _, told = probe(pool, f"os.kill(os.getpid(), {int(signal.SIGSEGV)})\ntime.sleep(5)")
    assert "SIGSEGV" in told
