"""Messages arrive whole, whenever their parts do."""

from __future__ import annotations

import json
import os
import socket
import struct

import pytest

from triton_gym.evaluation.exchange.channel import (
    LIMIT,
    Channel,
    ChannelClosed,
    ChannelTimeout,
    pair,
)


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_timeout_within_a_message_loses_nothing(cut):
    # A fork server that polls once took the body of a late message for the next header, and left.
    ours, theirs = pair()
    body = json.dumps({"op": "fork"}).encode()
    whole = struct.pack("!I", len(body)) + body
    theirs.sendall(whole[:cut])
    with pytest.raises(ChannelTimeout):
        ours.receive(0.01)
    theirs.sendall(whole[cut:])
    assert ours.receive(1) == {"op": "fork"}
    ours.close()
    theirs.close()


def test_messages_do_not_run_into_each_other():
    ours, theirs = pair()
    other = Channel(theirs)
    for number in range(3):
        other.send({"n": number, "text": "x" * number})
    assert [ours.receive(1)["n"] for _ in range(3)] == [0, 1, 2]
    ours.close()
    other.close()


@pytest.mark.parametrize("takes", [False, True])
def test_only_who_asks_gets_files(takes):
    ours, theirs = socket.socketpair()
    reader, writer = Channel(ours, takes_files=takes), Channel(theirs)
    before = set(os.listdir("/proc/self/fd"))
    with open(os.devnull) as null:
        writer.send({}, (null.fileno(),))
    message = reader.receive(1)
    assert ("fds" in message) == takes
    assert len(set(os.listdir("/proc/self/fd")) - before) == takes
    for fd in message.get("fds", ()):
        os.close(fd)
    reader.close()
    writer.close()


def test_a_flood_is_not_read():
    ours, theirs = pair()
    theirs.sendall(struct.pack("!I", LIMIT + 1))
    with pytest.raises(ChannelClosed, match="announced"):
        ours.receive(1)
    ours.close()
    theirs.close()
