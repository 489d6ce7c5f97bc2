"""A worker tries what is forbidden, and the kernel refuses it.

The probes below are trusted code in the place of an answer: the screen, which would reject them,
is not asked. They run in a worker that was forked and confined like every other.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import triton_gym
from triton_gym.evaluation.confine import layers as layer_list
from triton_gym.evaluation.confine import privileges
from triton_gym.evaluation.confine.kernel import prctl
from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session
from triton_gym.evaluation.workers.workshop import WorkerLost, Workshop

HERE = layer_list.available()
ROOT = Path(triton_gym.__file__).parent.parent
HEAD = """
import ctypes, fcntl, json, mmap, os, resource, signal, socket, subprocess, sys, threading, time
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
JUDGE = int(open("judge").read())

def call(number, *arguments):
    if LIBC.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def read(path):
    return os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)

def told(attempt):
    try:
        attempt()
    except OSError as error:
        return error.errno
    except ValueError as error:  # setrlimit's way to say EPERM
        return 1 if "not allowed" in str(error) else -1
    return 0
"""


def needs(*wanted: Layer):
    """Run where the machine has these layers: elsewhere there is nothing to test."""
    missing = sorted(set(wanted) - HERE)
    return pytest.mark.skipif(bool(missing), reason=f"this kernel has no {', '.join(missing)}")


def probe(workshop, code, limits=None, **files):
    """Run code in a worker of its own; what it leaves in `found`, and how it ended."""
    with Scratch(HEAD + code + "\njson.dump(found, open('found', 'w'))\n") as scratch:
        for name, text in {"judge": str(os.getpid()), **files}.items():
            Path(scratch.folder, name).write_text(text)
        with (
            Session(workshop, limits or Limits(seconds=60), scratch) as worker,
            pytest.raises(Ended) as ended,
        ):
            worker.ask("load", path=worker.path, entry="no such function")
        found = Path(scratch.folder, "found")
        return json.loads(found.read_text()) if found.exists() else None, str(ended.value)


def gone(pid, seconds=10.0):
    """Whether a process ends in time; a zombie has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def workshop():
    shop = Workshop("compile")
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def open_workshop():
    """Its workers can reach the nursery, and leave their process group."""
    os.environ["HF_TOKEN"] = "a secret"
    shop = Workshop("interpret", ALL - {Layer.SIGNALS, Layer.PROCESSES})
    yield shop
    del os.environ["HF_TOKEN"]
    shop.close()


# -- what is refused, attempt by attempt ----------------------------------------------------------

FORBIDDEN = {
    Layer.FILES: {
        "the root": "read('/')",
        "temporary files of others": "read('/tmp')",
        "shadow passwords": "read('/etc/shadow')",
        "host keys": "read('/etc/ssh')",
        "this user's home": "read(os.path.expanduser('~' + __import__('pwd').getpwuid(os.getuid()).pw_name))",
        "the judge's memory": "read(f'/proc/{JUDGE}/mem')",
        "the judge's variables": "read(f'/proc/{JUDGE}/environ')",
        "the judge's command line": "read(f'/proc/{JUDGE}/cmdline')",
        "the nursery's memory": "read(f'/proc/{os.getppid()}/maps')",
        "the list of processes": "read('/proc')",
        "the list of shared memory": "read('/dev/shm')",
        "terminals": "read('/dev/tty')",
        "disks": "read('/dev')",
        "the current folder of the user": "read(open('cwd').read())",
        "another evaluation": "read(open('other').read())",
        "the judge's folder": "read(os.path.dirname(os.getcwd()))",
        "the best answers": "read(open('expert').read())",
        "the collected exploits": "read(open('audit').read())",
        "a file in the temporary folder": "open('/tmp/triton-gym-probe', 'w')",
        "a file in shared memory": "open('/dev/shm/triton-gym-probe', 'w')",
        "a file in a package": "open(json.__file__, 'r+')",
        "a file beside a package": "open(os.path.dirname(os.__file__) + '/planted.py', 'w')",
        "a link to a file outside": "os.link(os.__file__, 'linked')",
        "a move to the outside": "os.rename('judge', '/tmp/triton-gym-probe')",
        "a pipe with a name": "os.mkfifo('pipe')",
        "a program of one's own": "(os.close(os.open('tool', os.O_CREAT, 0o755)), os.execv('tool', ['tool']))",
        "its place in the order of ends": "open('/proc/self/oom_score_adj', 'w').write('0')",
    },
    Layer.SOCKETS: {
        "IPv4": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "IPv4 datagrams": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "IPv6": "socket.socket(socket.AF_INET6)",
        "UNIX": "socket.socket(socket.AF_UNIX)",
        "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "the kernel's ciphers": "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "hypervisor": "socket.socket(40, socket.SOCK_STREAM)",
    },
    Layer.SIGNALS: {
        "the judge": "os.kill(JUDGE, 0)",
        "the nursery": "os.kill(os.getppid(), 0)",
        "the judge's group": "os.killpg(os.getpgid(JUDGE), 0)",
        "the judge by handle": "signal.pidfd_send_signal(os.pidfd_open(JUDGE), 0)",
    },
    Layer.PROCESSES: {
        "a session of its own": "os.setsid()",
        "a group of its own": "os.setpgid(0, 0)",
        "tracing": "call(SYS['ptrace'], 16, JUDGE, 0, 0)",
        "reading memory": "call(SYS['process_vm_readv'], JUDGE, 0, 0, 0, 0, 0)",
        "writing memory": "call(SYS['process_vm_writev'], JUDGE, 0, 0, 0, 0, 0)",
        "taking open files": "call(SYS['pidfd_getfd'], os.pidfd_open(JUDGE), 0, 0)",
        "another's limits": "resource.prlimit(JUDGE, resource.RLIMIT_CPU)",
        "another's cores": "os.sched_setaffinity(JUDGE, {0})",
        "another's priority": "os.setpriority(os.PRIO_PROCESS, JUDGE, 19)",
        "children of the nursery": "call(SYS['clone'], 0x8000 | 17, 0, 0, 0, 0)",
        "namespaces of a child": "call(SYS['clone'], 0x10000000 | 17, 0, 0, 0, 0)",
    },
    Layer.KERNEL: {
        "namespaces": "call(SYS['unshare'], 0x10000000)",
        "mounts": "call(SYS['mount'], 0, 0, 0, 0, 0)",
        "keys": "call(SYS['keyctl'], 0, 0)",
        "programs in the kernel": "call(SYS['bpf'], 0, 0, 0)",
        "page faults": "call(SYS['userfaultfd'], 0)",
        "counters": "call(SYS['perf_event_open'], 0, 0, 0, 0, 0)",
        "queued calls": "call(SYS['io_uring_setup'], 1, 0)",
        "lasting shared memory": "call(SYS['shmget'], 4711, 4096, 0o1600)",
        "lasting semaphores": "call(SYS['semget'], 4711, 1, 0o1600)",
        "lasting queues": "call(SYS['msgget'], 4711, 0o1600)",
        "named queues": "call(SYS['mq_open'], 0, 0, 0, 0)",
    },
    Layer.METADATA: {
        "modes": "os.chmod(open('kept').read(), 0)",
        "modes of open files": "os.fchmod(os.open(os.__file__, os.O_RDONLY), 0)",
        "owners": "os.chown(open('kept').read(), 0, 0)",
        "times": "os.utime(open('kept').read(), (0, 0))",
        "attributes": "os.setxattr(open('kept').read(), 'user.a', b'')",
        "truncation": "os.truncate(open('kept').read(), 0)",
        "watching folders": "call(SYS['inotify_init1'], 0)",
        "handles of files": "call(SYS['open_by_handle_at'], 0, 0, 0)",
    },
    Layer.CAPABILITIES: {
        "another user": "os.setresuid(12345, 12345, 12345)",
        "another clock": "time.clock_settime(time.CLOCK_REALTIME, 0.0)",
        "a higher limit": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    },
}  # fmt: skip
CASES = [
    pytest.param(layer, name, id=f"{layer}: {name}", marks=needs(layer))
    for layer, attempts in FORBIDDEN.items()
    for name in attempts
]


@pytest.fixture(scope="module")
def refused(workshop, tmp_path_factory):
    """Error numbers of all attempts, made in one worker; 0 where an attempt went through."""
    import platform

    from triton_gym.evaluation.confine.syscalls import ARCHITECTURES, NUMBERS

    column = ARCHITECTURES[platform.machine()][0]
    numbers = {name: both[column] for name, both in NUMBERS.items()}
    kept = tmp_path_factory.mktemp("user") / "kept"
    kept.write_text("kept")
    lines = [f"SYS = {numbers}", "found = {}"]
    for layer, attempts in FORBIDDEN.items():
        for name, attempt in attempts.items():
            lines.append(f"found[{f'{layer}: {name}'!r}] = told(lambda: {attempt})")
    with Scratch("other") as other:
        found, told = probe(
            workshop, "\n".join(lines), cwd=os.getcwd(), other=other.path, kept=str(kept),
            expert=str(ROOT / "envs/softmax/expert.py"), audit=str(ROOT / "triton_gym/audit"),
        )  # fmt: skip
    assert kept.read_text() == "kept"
    assert found is not None, told
    return found


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_the_kernel_refuses(layer, name, refused):
    assert refused[f"{layer}: {name}"] in (1, 13, 18)  # EPERM, EACCES, EXDEV


# -- what a worker is -----------------------------------------------------------------------------


def test_a_worker_says_what_it_is_held_to(workshop):
    with Scratch("") as scratch, Session(workshop, Limits(), scratch) as worker:
        assert set(worker.layers) == HERE


def test_root_is_nobody_special(workshop):
    found, _ = probe(
        workshop,
        """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
found = {name: status[name].strip() for name in ("CapPrm", "CapEff", "NoNewPrivs", "Seccomp")}
found["dumpable"] = LIBC.prctl(3, 0, 0, 0, 0)
found["first to end"] = int(open("/proc/self/oom_score_adj").read())
found["open files"] = len(os.listdir("/proc/self/fd"))
""",
    )
    assert int(found["CapPrm"], 16) == int(found["CapEff"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == ("2" if Layer.KERNEL in HERE else "0")
    assert found["dumpable"] == 0
    assert found["first to end"] == 1000
    assert found["open files"] <= 7  # standard three, the channel, its own folder, the listing


def test_secrets_in_the_environment_stay(open_workshop):
    from triton_gym.evaluation.confine.environment import narrowed

    given = {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "OPENAI_API_KEY": "x", "TRITON_TOKEN": "x", "PYTHONPATH": "/p", "SSH_AUTH_SOCK": "/s",
    }  # fmt: skip
    assert set(narrowed(given)) == {"PATH", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"}
    look = "found = [open(f'/proc/{pid}/environ').read() for pid in ('self', os.getppid())]"
    found, told = probe(
        open_workshop, "found = [open('/proc/self/environ').read(), str(os.environ)]"
    )
    assert found, told
    assert not any("a secret" in text for text in found)
    assert probe(open_workshop, look)[0] is None  # nor is the nursery's there to be read


def test_what_answers_need_still_works(workshop):
    found, _ = probe(
        workshop,
        r"""
open("a.c", "w").write("int three(void) { return 3; }")
compiled = subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "a.c", "-o", "a.so"])
found = {"compiled": compiled.returncode, "three": ctypes.CDLL("./a.so").three()}
import xml.dom.minidom, sqlite3, torch.utils.benchmark  # not imported by the nursery
threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
os.makedirs("x/y")
open("x/f", "w").write("moved")
os.replace("x/f", "x/y/f")
found["moved"] = open("x/y/f").read()
started = time.monotonic()
try:
    subprocess.run(["sleep", "30"], timeout=0.2)
except subprocess.TimeoutExpired:
    found["a compiler can be stopped"] = time.monotonic() - started < 5
ours, theirs = socket.socketpair()
ours.send(b"x")
found["talks to itself"] = theirs.recv(1).decode()
found["anonymous memory"] = os.memfd_create("m") > 0
""",
    )
    assert found == {
        "compiled": 0, "three": 3, "moved": "moved", "a compiler can be stopped": True,
        "talks to itself": "x", "anonymous memory": True,
    }  # fmt: skip


# -- what an answer leaves behind -----------------------------------------------------------------

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
def test_a_daemon_ends_with_its_worker(workshop):
    daemon, _ = probe(workshop, DAEMON.format(leave="pass"))
    assert gone(daemon)


def test_a_daemon_with_a_session_of_its_own_does_too(open_workshop):
    # The second line, for kernels that cannot keep it in the worker's group.
    daemon, _ = probe(open_workshop, DAEMON.format(leave="os.setsid()"))
    assert gone(daemon)


def test_a_daemon_does_not_outlive_a_killed_nursery(open_workshop):
    # A judge adopts what a nursery leaves; here this process is the judge.
    privileges.adopt_orphans()
    try:
        nursery, pid, channel = open_workshop.fork(Limits())
        with Scratch(HEAD + DAEMON.format(leave="pass") + "time.sleep(600)") as scratch:
            Path(scratch.folder, "judge").write_text("0")
            channel.send({"op": "enter", "folder": scratch.folder, "limits": {}})
            channel.receive(20)
            channel.send({"op": "load", "path": scratch.path, "entry": "f"})
            file = Path(scratch.folder, "daemon")
            while not file.exists():
                time.sleep(0.02)
            daemon = int(file.read_text())
            nursery._process.kill()
            open_workshop.fork(Limits())[2].close()  # a new nursery; the old one is buried
            assert gone(daemon, 1)
            assert gone(pid, 1)
            assert not Path(f"/proc/{daemon}").exists()  # not even as a zombie
            channel.close()
    finally:
        prctl(36, 0)


@pytest.mark.parametrize("what", ["processes", "threads"])
def test_a_bomb_is_put_out(what, workshop):
    bomb = {
        "processes": "while True:\n    if os.fork() == 0:\n        time.sleep(600)",
        # Slow enough that their stacks do not reach the memory limit first.
        "threads": "while True:\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "    time.sleep(0.002)",
    }[what]
    started = time.monotonic()
    _, told = probe(workshop, bomb, Limits(seconds=30, processes=40))
    assert "processes and threads; 40 are allowed" in told
    assert time.monotonic() - started < 20
    assert probe(workshop, "found = 1")[0] == 1


def test_memory_is_counted_over_all_processes(workshop):
    hog = """
for _ in range(6):
    if os.fork() == 0:
        block = os.urandom(1 << 20) * 60
        time.sleep(600)
time.sleep(600)
"""
    _, told = probe(workshop, hog, Limits(seconds=60, host_bytes=256 << 20))
    assert "256 MiB are allowed" in told


# -- whose fault it is ----------------------------------------------------------------------------


def test_an_answer_that_kills_its_nursery_is_told_from_the_machine(open_workshop):
    with pytest.raises(WorkerLost):
        probe(open_workshop, "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")
    assert probe(open_workshop, "found = 1")[0] == 1


@needs(Layer.SIGNALS)
def test_killing_everything_kills_nothing_else(workshop):
    nursery = workshop._nursery._process.pid
    _, told = probe(workshop, "os.kill(-1, signal.SIGKILL)\ntime.sleep(0.2)\nos.kill(0, 9)")
    assert "SIGKILL" in told
    assert workshop._nursery._process.pid == nursery
    assert workshop._nursery.alive


def test_a_worker_that_cannot_be_confined_is_no_outcome(workshop):
    from triton_gym.errors import EvaluatorError

    with Scratch("") as scratch:
        lost = Session(workshop, Limits(), scratch)
    with pytest.raises(EvaluatorError, match="could not be confined"), lost:
        raise AssertionError("it was entered")


def test_a_socket_pair_is_all_there_is(workshop):
    # The channel cannot be used to reach anyone else: it has one other end.
    found, _ = probe(
        workshop,
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


def test_signals_of_real_time_have_no_name_and_do_no_harm(workshop):
    _, told = probe(workshop, "os.kill(os.getpid(), 40)\ntime.sleep(5)")
    assert "signal 40" in told
    _, told = probe(workshop, f"os.kill(os.getpid(), {int(signal.SIGSEGV)})\ntime.sleep(5)")
    assert "SIGSEGV" in told
