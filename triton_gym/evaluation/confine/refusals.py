"""What a worker has no business with, by why."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.confine.seccomp import Argument, Refusal

_CLONE_NAMESPACES = 0x7E020000
_CLONE_PARENT = 0x00008000
"""The child would be the fork server's, not the worker's."""
_CLONE_PTRACE = 0x00002000

_UNIX = Argument(0, (socket.AF_UNIX,))

_LISTENING = ("bind", "listen")
_CONNECTING = ("connect", "accept", "accept4")
_OTHERS_MEMORY = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "pidfd_getfd", "kcmp",
)  # fmt: skip
_OTHERS_TIME = ("ioprio_set", "migrate_pages", "sched_setattr", "setpriority")
_OTHERS_BY_NUMBER = (
    "prlimit64", "sched_setaffinity", "sched_setparam", "sched_setscheduler", "move_pages",
)  # fmt: skip
_SIGNALS_BY_NUMBER = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_PARTS_OF_THE_KERNEL = (
    "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime",
    "delete_module", "finit_module", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "memfd_secret", "modify_ldt", "perf_event_open", "personality",
    "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname",
    "settimeofday", "swapoff", "swapon", "syslog", "userfaultfd", "vhangup",
)  # fmt: skip
_MOUNTS = (
    "fsconfig", "fsmount", "fsopen", "fspick", "listmount", "mount", "mount_setattr",
    "move_mount", "open_tree", "pivot_root", "setns", "statmount", "umount2", "unshare",
)  # fmt: skip
_LASTING = (
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat",
    "shmctl", "shmdt", "shmget",
)  # fmt: skip
"""Shared memory, semaphores and queues that live on when their process is gone."""
_UNCOUNTED = ("memfd_create",)
"""Memory that belongs to no process, so that nobody's limit bounds it."""
_PAST_LANDLOCK = (
    "chmod", "chown", "fanotify_init", "fanotify_mark", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchownat", "fremovexattr", "fsetxattr", "futimesat", "inotify_add_watch",
    "inotify_init", "inotify_init1", "lchown", "lremovexattr", "lsetxattr", "mknod", "mknodat",
    "name_to_handle_at", "open_by_handle_at", "removexattr", "setxattr", "truncate", "utime",
    "utimensat", "utimes",
)  # fmt: skip
"""What Landlock does not govern, in all of its versions or in some."""


def refusals(layers: frozenset[Layer], *, pid: int, scoped: bool) -> list[Refusal]:
    """What a worker is refused.

    Args:
        layers: those that are taken on.
        pid: of the worker.
        scoped: whether Landlock keeps signals inside; otherwise this filter has to.
    """
    found: list[Refusal] = []
    if Layer.SOCKETS in layers:
        # A worker talks through the socket that it was given.
        found += [Refusal("socketpair", (_UNIX,)), *map(Refusal, ("socket", *_LISTENING))]
    if Layer.PEERS in layers:
        found += map(Refusal, _CONNECTING)
    if Layer.PROCESSES in layers:
        found += _processes(pid)
    if Layer.SIGNALS in layers and not scoped:
        # Coarser than Landlock: a worker cannot end what it started, the fork server does.
        own = (Argument(0, (pid,)),)
        found += [Refusal(call, own) for call in _SIGNALS_BY_NUMBER]
        found += map(Refusal, ("tkill", "pidfd_send_signal"))
    if Layer.KERNEL in layers:
        found += map(Refusal, (*_PARTS_OF_THE_KERNEL, *_MOUNTS, *_LASTING, *_UNCOUNTED))
    if Layer.METADATA in layers:
        found += map(Refusal, _PAST_LANDLOCK)
    return found


def _processes(pid: int) -> Iterator[Refusal]:
    """Other processes' memory and time, and ways out of the group that is killed at the end."""
    yield from map(Refusal, _OTHERS_MEMORY)
    yield from map(Refusal, _OTHERS_TIME)
    for call in _OTHERS_BY_NUMBER:  # of itself it may: 0 and its own number say so
        yield Refusal(call, (Argument(0, (0, pid)),))
    yield from map(Refusal, ("setsid", "setpgid"))
    flags = _CLONE_NAMESPACES | _CLONE_PARENT | _CLONE_PTRACE
    yield Refusal("clone", (Argument(0, (0,), flags),))
    # Its flags lie in memory, where a filter cannot look; the C library falls back to clone.
    yield Refusal("clone3", error=errno.ENOSYS)
