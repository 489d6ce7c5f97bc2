"""Trusted code in the place of an answer, in a worker that was forked and confined like every other.

The screen, which would reject it, is not asked.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from triton_gym.device import gpu_named
from triton_gym.evaluation.backends.simulated.facts import facts_of
from triton_gym.evaluation.confine import layers as layer_list
from triton_gym.evaluation.confine.layers import Layer
from triton_gym.evaluation.plan.messages import EntryKind, Load
from triton_gym.evaluation.recording.session import RecorderSession
from triton_gym.evaluation.workers.sandbox import Limits
from triton_gym.evaluation.workers.scratch import Scratch
from triton_gym.evaluation.workers.session import Ended, Session

HERE = layer_list.available()
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


def probe(pool, code, limits=None, **files):
    """Run code in a worker of its own; what it leaves in `found`, and how it ended."""
    with Scratch(HEAD + code + "\njson.dump(found, open('found', 'w'))\n") as scratch:
        for name, text in {"judge": str(os.getpid()), **files}.items():
            Path(scratch.folder, name).write_text(text)
        with (
            Session(pool, limits or Limits(seconds=60), scratch) as worker,
            pytest.raises(Ended) as ended,
        ):
            load(worker)
        found = Path(scratch.folder, "found")
        return json.loads(found.read_text()) if found.exists() else None, str(ended.value)


def load(worker):
    """Have the worker run its source; it always ends, for want of an entry point."""
    recorder = RecorderSession(worker, None)
    try:
        recorder.load(request(worker.path, worker.source, recorder.blobs.size))
    finally:
        recorder.close()


def request(path, source, blob_bytes):
    """The message that has a worker run a source."""
    gpu = facts_of(gpu_named("h100"))
    return Load(path, source, "no_such_function", EntryKind.FUNCTION, gpu, 0, blob_bytes)


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
