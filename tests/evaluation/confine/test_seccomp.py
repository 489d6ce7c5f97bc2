"""The filter of system calls decides as its list says, on both architectures."""

from __future__ import annotations

import errno
import itertools
import platform
import re
import socket
import struct
from pathlib import Path

import pytest

from triton_gym.evaluation.confine.layers import ALL, Layer
from triton_gym.evaluation.confine.refusals import refusals
from triton_gym.evaluation.confine.seccomp import program
from triton_gym.evaluation.confine.syscalls import ARCHITECTURES, NEWEST, NUMBERS

PID = 4711
READ = {"x86_64": 0, "aarch64": 63}


def decide(code, audit, number, *arguments):
    """What the kernel would do: the error of a refused call, 0 for one that goes through."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    value, place = 0, 0
    while True:
        step, if_true, if_false, constant = struct.unpack_from("=HBBI", code, 8 * place)
        place += 1
        if step == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif step == 0x54:
            value &= constant
        elif step == 0x15:
            place += if_true if value == constant else if_false
        elif step == 0x35:
            place += if_true if value >= constant else if_false
        else:
            assert step == 0x06
            return 0 if constant == 0x7FFF0000 else constant & 0xFFFF


def decision(machine, call, *arguments, layers=ALL, scoped=True):
    column, audit = ARCHITECTURES[machine]
    code = program(refusals(layers, pid=PID, scoped=scoped), machine)
    return decide(code, audit, NUMBERS[call][column], *arguments)


@pytest.fixture(params=ARCHITECTURES)
def machine(request):
    return request.param


def test_every_refusal_refuses_and_nothing_else(machine):
    column, audit = ARCHITECTURES[machine]
    listed = refusals(ALL, pid=PID, scoped=False)
    code = program(listed, machine)
    always = {NUMBERS[r.call][column]: r.error for r in listed if not r.unless}
    sometimes = {NUMBERS[r.call][column] for r in listed if r.unless}
    for number in range(NEWEST + 1):
        if number not in sometimes:
            assert decide(code, audit, number) == always.get(number, 0), number
    assert READ[machine] not in sometimes


def test_calls_that_nobody_looked_at_do_not_exist(machine):
    audit = ARCHITECTURES[machine][1]
    code = program([], machine)
    assert decide(code, audit, NEWEST) == 0
    assert decide(code, audit, NEWEST + 1) == errno.ENOSYS
    assert decide(code, audit, 0x40000000) == errno.ENOSYS  # the x32 calls
    assert decide(code, 0x40000003, READ[machine]) == errno.EPERM  # i386


def test_arguments_decide(machine):
    own = [
        ("prlimit64", (0,), 0), ("prlimit64", (PID,), 0), ("prlimit64", (1,), errno.EPERM),
        ("sched_setaffinity", (PID,), 0), ("sched_setaffinity", (PID + 1,), errno.EPERM),
        ("clone", (0x003D0F00,), 0), ("clone", (17,), 0), ("clone", (0x4111,), 0),
        ("clone", (0x8011,), errno.EPERM), ("clone", (0x40000011,), errno.EPERM),
        ("clone", (0x20000011,), errno.EPERM), ("clone", (0x2011,), errno.EPERM),
        ("clone3", (), errno.ENOSYS), ("kill", (1, 9), 0), ("tkill", (1, 9), 0),
    ]  # fmt: skip
    for call, arguments, error in own:
        assert decision(machine, call, *arguments) == error, (call, arguments)
    for pid, error in ((PID, 0), (1, errno.EPERM), (0, errno.EPERM), (2**64 - 1, errno.EPERM)):
        assert decision(machine, "kill", pid, 9, scoped=False) == error
        assert decision(machine, "tgkill", pid, 1, 9, scoped=False) == error


def test_sockets(machine):
    kinds = itertools.product(
        (socket.AF_UNIX, socket.AF_INET, 16), (socket.SOCK_STREAM, 2, socket.SOCK_SEQPACKET)
    )
    for family, kind in kinds:
        for flags in (0, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
            assert decision(machine, "socket", family, kind | flags) == errno.EPERM
    for call in ("connect", "accept", "accept4", "bind", "listen"):
        assert decision(machine, call) == errno.EPERM


def test_layers_can_be_left_out(machine):
    for layer, call in (
        (Layer.SOCKETS, "socket"), (Layer.PEERS, "connect"), (Layer.PROCESSES, "setsid"),
        (Layer.KERNEL, "bpf"), (Layer.METADATA, "fchmod"),
    ):  # fmt: skip
        assert decision(machine, call) == errno.EPERM
        assert decision(machine, call, layers=ALL - {layer}) == 0


HEADERS = {
    "x86_64": Path("/usr/include", f"{platform.machine()}-linux-gnu", "asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def test_numbers_are_those_of_the_headers(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"no kernel headers for {machine} here")
    text = HEADERS[machine].read_text()
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    known["umount2"] = known.get("umount2", known.get("umount"))
    column = ARCHITECTURES[machine][0]
    compared = 0
    for call, numbers in NUMBERS.items():
        if call in known:
            assert str(numbers[column]) == known[call], call
            compared += 1
        elif numbers[column] is not None:
            assert numbers[column] > 450, call  # newer than the headers
    assert compared > 90
