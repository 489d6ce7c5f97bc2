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
    """One end of a conversation. Not safe for use from several threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
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
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        try:
            self.sock.sendmsg([_HEADER.pack(len(body))], ancillary)
            self.sock.sendall(body)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next message; files sent with it stand under `"fds"`.

        Raises:
            ChannelClosed: the other side is gone or does not speak this protocol.
            ChannelTimeout: nothing complete came within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        header, fds = self._read(_HEADER.size, deadline, with_fds=True)
        (length,) = _HEADER.unpack(header)
        if length > LIMIT:
            raise ChannelClosed(f"a message of {length} bytes was announced; the limit is {LIMIT}")
        body, _ = self._read(length, deadline)
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ChannelClosed(f"not a message: {error}") from error
        if not isinstance(message, dict):
            raise ChannelClosed("not a message: a JSON object was expected")
        if fds:
            message["fds"] = fds
        return message

    def _read(
        self, count: int, deadline: float | None, *, with_fds: bool = False
    ) -> tuple[bytes, list[int]]:
        parts: list[bytes] = []
        fds: list[int] = []
        while count:
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([self.sock], [], [], left)[0]:
                    raise ChannelTimeout
            try:
                if with_fds:
                    data, received, _, _ = socket.recv_fds(self.sock, count, 8)
                    fds += received
                else:
                    data = self.sock.recv(min(count, 1 << 20))
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not data:
                raise ChannelClosed("the other side closed the channel")
            parts.append(data)
            count -= len(data)
        return b"".join(parts), fds


def pair() -> tuple[Channel, socket.socket]:
    """A channel and the socket of its other end, to hand to a child."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs
