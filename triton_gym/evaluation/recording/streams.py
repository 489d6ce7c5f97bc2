"""Streams, events and graphs of a device whose work has one order: that of the host code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triton_gym.evaluation.plan.step import Step
from triton_gym.evaluation.recording import standin
from triton_gym.evaluation.recording.memory import Memory
from triton_gym.evaluation.recording.recorder import Recorder
from triton_gym.evaluation.recording.tuning import Tuner


class Stream:
    """Stands in for `torch.cuda.Stream`. All streams are one, so nothing needs to be waited for."""

    _count = 0
    recorder: Recorder | None = None
    """Whom it tells of waiting; set once a session begins."""

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self.device = standin.CUDA
        self.priority = priority
        self.cuda_stream = Stream._count
        self.stream_id = Stream._count
        self.device_index = 0
        self.device_type = 1
        Stream._count += 1
        self._context: Any = None

    def __enter__(self) -> Stream:
        self._context = torch.cuda.stream(self)  # type: ignore[arg-type]
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)

    def wait_event(self, event: Any) -> None:
        """What is recorded before is done before."""

    def wait_stream(self, stream: Any) -> None:
        """What is recorded before is done before."""

    def record_event(self, event: Any = None) -> Event:
        """An event after what was recorded so far."""
        made = event or Event()
        made.record(self)
        return made

    def query(self) -> bool:
        """Whether all work is done: host code that asks until it is goes on."""
        return True

    def synchronize(self) -> None:
        """Host code waits."""
        if Stream.recorder is not None:
            Stream.recorder.synchronize()

    @property
    def _as_parameter_(self) -> Any:
        import ctypes

        return ctypes.c_void_p(self.cuda_stream)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.cuda_stream == self.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device=cuda:0 cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """Stands in for `torch.cuda.ExternalStream`."""

    def __init__(self, stream_ptr: int = 0, device: Any = None, **_: Any) -> None:
        super().__init__(device)
        self.cuda_stream = stream_ptr


class Event:
    """Stands in for `torch.cuda.Event`. The time between two is what the steps between take."""

    recorder: Recorder | None = None
    tuner: Tuner | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = standin.CUDA
        self.cuda_event = 0
        self._at: tuple[object, int] | None = None

    def record(self, stream: Any = None) -> None:
        """Note which steps came before."""
        if Event.recorder is not None:
            self._at = Event.recorder.executor.position()

    def wait(self, stream: Any = None) -> None:
        """What is recorded before is done before."""

    def query(self) -> bool:
        """Whether it happened."""
        return True

    def synchronize(self) -> None:
        """Host code waits."""
        if Event.recorder is not None:
            Event.recorder.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another.

        Raises:
            ValueError: one of them was not recorded.
        """
        if self._at is None or end_event._at is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if Event.tuner is None:
            return 0.0
        steps: list[Step] = []
        if self._at[0] is end_event._at[0]:
            kept: Any = self._at[0]
            steps = list(kept[self._at[1] : end_event._at[1]])
        return Event.tuner.elapsed_ms(steps)

    def ipc_handle(self) -> bytes:
        """There is no other process.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("Events cannot be shared between processes here.")


class Graph:
    """Stands in for `torch.cuda.CUDAGraph`: what is captured is not done, but with each replay."""

    recorder: Recorder | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self._context: Any = None
        self._steps: Sequence[Step] = ()
        self._held: list[Memory] = []

    def capture_begin(self, *_: Any, **__: Any) -> None:
        """Steps from here on are the graph's."""
        if Graph.recorder is not None:
            self._context = Graph.recorder.capture()
            self._steps, self._held = self._context.__enter__()

    def capture_end(self) -> None:
        """The graph is whole."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None

    def replay(self) -> None:
        """Do what was captured."""
        if Graph.recorder is not None:
            Graph.recorder.replay(self._steps)

    def pool(self) -> tuple[int, int]:
        """All graphs take memory from one pool."""
        return 0, 0

    def instantiate(self) -> None:
        """A graph is ready once it was captured."""

    def enable_debug_mode(self) -> None:
        """There is nothing to debug."""

    def reset(self) -> None:
        """Forget what was captured."""
        self._steps = ()
        if Graph.recorder is not None:
            Graph.recorder.release(self._held)

    def __del__(self) -> None:
        self.reset()
