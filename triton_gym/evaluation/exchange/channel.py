"""Messages between the evaluation's processes: length-prefixed JSON over a UNIX socket.

Only JSON is ever parsed from a process that runs answers: it cannot name a class or a function,
and a message longer than the limit ends the conversation instead of filling the reader's memory.
"""

from __future__ import annotations

import array
import json
import select
import socket
import struct
import time
from typing import Any

LIMIT = 4 << 20
"""Longest message in bytes."""
_HEADER = struct.Struct("!I")


class ChannelClosed(Exception):
    """The other side is gone, or sent something that is not a message."""


class ChannelTimeout(Exception):
    """The other side did not answer in time."""


class Channel:
    """One end of a conversation. Not safe for use from several threads at once.

    Args:
        sock: a connected stream socket.
        takes_files: whether open files that come with a message are kept. The judge's ends take
            none: a hostile worker would fill its table of open files.
    """

    def __init__(self, sock: socket.socket, *, takes_files: bool = False) -> None:
        self.sock = sock
        self._takes_files = takes_files
        # What has come of the next message. It outlives a timeout: a reader that gave up between
        # a header and its body would take the body for the next header.
        self._come = bytearray()
        self._fds: list[int] = []
        sock.setblocking(True)

    def fileno(self) -> int:
        """The descriptor of the socket, for `select`."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a message, and open files with it.

        Raises:
            ChannelClosed: the other side is gone.
        """
        body = json.dumps(message, separators=(",", ":")).encode()
        whole = _HEADER.pack(len(body)) + body
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            sent = self.sock.sendmsg([whole], ancillary)
            self.sock.sendall(whole[sent:])
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message; files sent with it stand under `"fds"`.

        After a timeout it can be called again: what had come by then is kept.

        Raises:
            ChannelClosed: the other side is gone or does not speak this protocol.
            ChannelTimeout: nothing complete came within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._fill(_HEADER.size, deadline)
        (length,) = _HEADER.unpack(self._come[: _HEADER.size])
        if length > LIMIT:
            raise ChannelClosed(f"a message of {length} bytes was announced; the limit is {LIMIT}")
        self._fill(_HEADER.size + length, deadline)
        body, fds = bytes(self._come[_HEADER.size :]), self._fds
        self._come, self._fds = bytearray(), []
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ChannelClosed(f"not a message: {error}") from error
        if not isinstance(message, dict):
            raise ChannelClosed("not a message: a JSON object was expected")
        if fds:
            message["fds"] = fds
        return message

    def _fill(self, count: int, deadline: float | None) -> None:
        """Read until `count` bytes of the next message have come, and no more."""
        while len(self._come) < count:
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic())
                if not self._arrives(left):
                    raise ChannelTimeout
            missing = min(count - len(self._come), 1 << 20)
            try:
                if self._takes_files:
                    data, fds, _, _ = socket.recv_fds(self.sock, missing, 8)
                else:  # without room for them the kernel closes what files come along
                    data, fds = self.sock.recv(missing), []
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not data:
                raise ChannelClosed("the other side closed the channel")
            self._come += data
            self._fds += fds

    def _arrives(self, seconds: float) -> bool:
        poll = select.poll()  # unlike select, it knows descriptors beyond 1024
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


def pair() -> tuple[Channel, socket.socket]:
    """A channel and the socket of its other end, to hand to a child."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs
