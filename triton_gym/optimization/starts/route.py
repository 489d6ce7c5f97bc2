"""What the routes to a start have in common."""

from __future__ import annotations


class NoStartError(Exception):
    """A route has no start for a function; the message says why."""
