"""A worker tries what is forbidden, and the kernel refuses it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import triton_gym
from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Session

sys.path.insert(0, str(Path(__file__).parent))
from probing import HERE, needs, probe

ROOT = Path(triton_gym.__file__).parent.parent

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
        "the fork server's memory": "read(f'/proc/{os.getppid()}/maps')",
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
        "the fork server": "os.kill(os.getppid(), 0)",
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
        "children of the fork server": "call(SYS['clone'], 0x8000 | 17, 0, 0, 0, 0)",
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
        "memory that nobody is counted for": "os.memfd_create('probe')",
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
def refused(pool, tmp_path_factory):
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
            pool, "\n".join(lines), cwd=os.getcwd(), other=other.path, kept=str(kept),
            expert=str(ROOT / "envs/core/softmax/expert.py"), audit=str(ROOT / "triton_gym/audit"),
        )  # fmt: skip
    assert kept.read_text() == "kept"
    assert found is not None, told
    return found


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_the_kernel_refuses(layer, name, refused):
    assert refused[f"{layer}: {name}"] in (1, 13, 18)  # EPERM, EACCES, EXDEV


# -- what a worker is -----------------------------------------------------------------------------


def test_a_worker_says_what_it_is_held_to(pool):
    with Scratch("") as scratch, Session(pool, Limits(), scratch) as worker:
        assert set(worker.layers) == HERE


def test_root_is_nobody_special(pool):
    found, _ = probe(
        pool,
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


def test_secrets_in_the_environment_stay(open_pool):
    from triton_gym.evaluation.confine.environment import narrowed

    given = {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "OPENAI_API_KEY": "x", "TRITON_TOKEN": "x", "PYTHONPATH": "/p", "SSH_AUTH_SOCK": "/s",
    }  # fmt: skip
    assert set(narrowed(given)) == {"PATH", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"}
    look = "found = [open(f'/proc/{pid}/environ').read() for pid in ('self', os.getppid())]"
    found, told = probe(open_pool, "found = [open('/proc/self/environ').read(), str(os.environ)]")
    assert found, told
    assert not any("a secret" in text for text in found)
    assert probe(open_pool, look)[0] is None  # nor is the fork server's there to be read


def test_what_answers_need_still_works(pool):
    found, _ = probe(
        pool,
        r"""
open("a.c", "w").write("int three(void) { return 3; }")
compiled = subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "a.c", "-o", "a.so"])
found = {"compiled": compiled.returncode, "three": ctypes.CDLL("./a.so").three()}
import xml.dom.minidom, sqlite3, torch.utils.benchmark  # not imported by the fork server
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
""",
    )
    assert found == {
        "compiled": 0, "three": 3, "moved": "moved", "a compiler can be stopped": True,
        "talks to itself": "x",
    }  # fmt: skip
