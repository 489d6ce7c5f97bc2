"""The same evaluator over a Ray cluster (extra `ray`): a judge for each GPU, wherever it is.

Ray places the judges as actors that hold their GPU (on the simulated device, their processors),
starts them again where there is room when a node dies, carries the answers, and knows who joined.
What stays here is what is here on one machine as well: the queue in front of the judges, with its
bound, priorities and cancellation. A judge holds only what its workers can take, so a node that
dies has little to be done again, and a node that joins finds work.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

from triton_gym.errors import EvaluatorError, InvalidOptionError, TritonGymError
from triton_gym.evaluation.backends import BACKENDS, backend_named, split
from triton_gym.evaluation.backends.protocol import Placement
from triton_gym.evaluation.service import folder
from triton_gym.evaluation.service.actor import JudgeActor
from triton_gym.evaluation.service.evaluator import PENDING, Evaluator, Path
from triton_gym.evaluation.service.options import count_of
from triton_gym.evaluation.service.scheduler import Scheduler
from triton_gym.evaluation.service.slot import Slot, capacity_for
from triton_gym.evaluation.service.transport import Listener, Work

_log = logging.getLogger(__name__)
LOOK_S = 2.0
"""How often the cluster is asked who is there."""
LEAVE_S = 5.0
"""How long a judge may take to end by itself."""
_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InvalidOptionError(
            "evaluator='ray' needs Ray: pip install 'triton-gym[ray]'."
        ) from error
    return ray


class RayEvaluator(Evaluator):
    """Evaluates answers on the judges of a Ray cluster; used like `Evaluator`.

    Args:
        address: of the cluster, as `ray.init` takes it. None for the one that this process is
            connected to, else the one that `RAY_ADDRESS` names, else one that Ray starts here.
        device: `cuda` for one judge a GPU, `simulated` for judges that hold processors, or
            `auto`: `cuda` if a node has a GPU.
        judges: how many, to be placed as soon as there is room (so a cluster that grows on demand
            grows); by default as many as the cluster has room for at any time.
        workers: evaluations at the same time of each judge. A simulated judge holds so many
            processors; one of a GPU holds `cpus`.
        cpus: processors that a judge of a GPU holds.
        pending, store: see `Evaluator`. The store is on this machine.

    While no node has room for a judge, evaluations wait.

    Raises:
        InvalidOptionError: Ray is not installed, or an argument is outside what is allowed.
        EvaluatorError: there is no such cluster, or it has no room for a judge and `judges` does
            not say how many to wait for.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        device: str = "auto",
        judges: int | None = None,
        workers: int | None = None,
        cpus: float = 1.0,
        pending: int = PENDING,
        store: Path | None = None,
    ) -> None:
        for name, value in (("workers", workers), ("judges", judges), ("pending", pending)):
            if value is not None:
                count_of(name, value)
        ray = _ray()
        self._again = {
            "address": address, "device": device, "judges": judges, "workers": workers,
            "cpus": cpus, "pending": pending, "store": store,
        }  # fmt: skip
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise EvaluatorError(f"There is no Ray cluster at {address!r}: {error}") from error
        placement = _placement(device, workers, cpus, ray.cluster_resources())
        self.workers = placement.workers
        scheduler = Scheduler([], pending)
        roster = _Roster(ray, scheduler, placement, judges)
        self._set_up(placement.device, scheduler, pending, store)
        self._leave = weakref.finalize(self, roster.close)
        try:
            roster.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the judges; the cluster stays. What is under way fails with `EvaluatorError`."""
        self._leave()
        super().close()
        folder.sweep()  # of judges here that were killed with their nodes

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (self._again,))


def _again(options: dict[str, Any]) -> RayEvaluator:
    """An evaluator like one that was pickled, with judges of its own."""
    return RayEvaluator(**options)


def _placement(
    device: str, workers: int | None, cpus: float, resources: dict[str, float]
) -> Placement:
    """What a judge runs on and holds; `auto` is the first kind that the cluster has at all.

    Raises:
        InvalidOptionError: there is no such device, or the cluster cannot choose it.
    """
    name, which = split(device)
    if name != "auto":
        return backend_named(name).placement(which, workers, cpus)
    possible = [backend_named(kind).placement("", workers, cpus) for kind in BACKENDS]
    here = (
        one for one in possible
        if all(resources.get(_RESOURCES[what]) for what, amount in one.holds.items() if amount)
    )  # fmt: skip
    return next(here, possible[-1])


class _Roster:
    """Sees to it that there is a place for every judge that the cluster has room for.

    Args:
        ray: the module.
        scheduler: gets a slot for every judge.
        placement: what a judge runs on and holds.
        most: judges.
    """

    def __init__(
        self, ray: Any, scheduler: Scheduler, placement: Placement, most: int | None
    ) -> None:
        self._ray, self._scheduler, self._most = ray, scheduler, most
        self._device, self._workers = placement.device, placement.workers
        self._needs = placement.holds
        self._slots = 0
        self._news: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to watch the cluster and to hear judges."""
        self._look()
        if not self._slots:
            needs = ", ".join(f"{amount:g} {name}" for name, amount in self._needs.items())
            raise EvaluatorError(
                f"No node of the Ray cluster has room for a judge, which needs {needs}. "
                "judges=1 waits for one."
            )
        for work in (self._watch, self._deliver):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._over.set()
        self._news.put(None)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            # A head node that is being replaced answers later; close() ends the wait.
            with contextlib.suppress(Exception):
                self._look()

    def _look(self) -> None:
        for _ in range(self._slots, self._most or self._room()):
            name = f"ray {self._device.kind} judge {self._slots}"
            self._slots += 1
            slot = Slot(name, capacity_for(self._workers), _Place(self))
            self._scheduler.join_in(slot)

    def _room(self) -> int:
        """Judges that the nodes of the cluster have room for, each node by itself."""
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                room += min(
                    int(has.get(_RESOURCES[what], 0) // amount)
                    for what, amount in self._needs.items() if amount
                )  # fmt: skip
        return room

    def _deliver(self) -> None:
        """Tell the scheduler what Ray reports: not in Ray's own threads, which must not wait."""
        while (news := self._news.get()) is not None:
            try:
                news()
            except Exception:  # a warning that the user turned into an error, say
                _log.exception("what a judge reported was not dealt with in full")

    def hear(self, reference: Any, then: Callable[[Any], None]) -> None:
        """Call `then` with what a reference stands for, or with the error that it raises."""

        def done(future: Any) -> None:
            error = future.exception()
            self._news.put(lambda: then(error if error is not None else future.result()))

        reference.future().add_done_callback(done)

    def actor(self) -> Any:
        """A new judge, wherever Ray finds room for it."""
        made = self._ray.remote(JudgeActor).options(
            **self._needs,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=capacity_for(self._workers) + 2,
        )
        return made.remote(self._device, self._workers)

    def leave(self, actor: Any) -> Any:
        """Have an actor end its judge; returns what `end` waits for."""
        if not self._ray.is_initialized():  # at the program's end; a call would start Ray anew
            return None
        with contextlib.suppress(Exception):  # it, or the whole cluster, may be gone already
            return actor.close.remote()
        return None

    def end(self, actor: Any, leaving: Any = None) -> None:
        """End a judge for good.

        Args:
            actor: that has it.
            leaving: of `leave`.
        """
        if not self._ray.is_initialized():
            return
        with contextlib.suppress(Exception):
            if leaving is not None:
                self._ray.get(leaving, timeout=LEAVE_S)
        with contextlib.suppress(Exception):
            self._ray.kill(actor, no_restart=True)

    def dead(self, error: Exception) -> bool:
        """Whether an error means that Ray will not start the actor again."""
        return isinstance(error, self._ray.exceptions.ActorDiedError)


class _Place:
    """Makes the transports of one slot: to the same actor as long as Ray restarts it."""

    def __init__(self, roster: _Roster) -> None:
        self._roster = roster
        self._actor: Any = None

    def __call__(self) -> RayLink:
        if self._actor is None:
            self._actor = self._roster.actor()
        return RayLink(self._roster, self._actor, self._forget)

    def _forget(self) -> None:
        self._actor = None


class RayLink:
    """A judge that is an actor; see `Transport`."""

    def __init__(self, roster: _Roster, actor: Any, forget: Callable[[], None]) -> None:
        self._roster, self._actor, self._forget = roster, actor, forget
        self._over = False
        self._ending: Any = None
        self._listener: Listener | None = None

    def start(self, listener: Listener) -> None:
        """Wait, elsewhere, until Ray has placed the actor."""
        self._listener = listener
        ready = self._actor.ready.options(max_task_retries=-1).remote()
        self._roster.hear(ready, self._ready)

    def send(self, number: int, work: Work) -> None:
        """Call the actor; Ray carries the answer."""
        reference = self._actor.evaluate.remote(number, work)
        self._roster.hear(reference, lambda result: self._answered(number, result))

    def drop(self, number: int) -> None:
        """See `Transport`."""
        self._actor.drop.remote(number)

    def hang_up(self) -> None:
        """Have the actor end its judge, with all that is its own."""
        if not self._over:
            self._over = True
            self._ending = self._roster.leave(self._actor)
            self._forget()

    def join(self) -> None:
        """Wait for that, and end the actor."""
        if self._ending is not None:
            self._roster.end(self._actor, self._ending)
            self._ending = None

    def _ready(self, result: Any) -> None:
        if self._listener is None or self._over:
            return
        if isinstance(result, Exception):
            self._lost(result)
        elif result[0] == "ready":
            self._listener.ready(self, result[1])
        else:
            self._lost(EvaluatorError(result[1]), usable=False)

    def _answered(self, number: int, result: Any) -> None:
        if self._listener is None or self._over:
            return
        if result is None or isinstance(result, TritonGymError):
            self._listener.answered(self, number, result)
        elif isinstance(result, Exception):
            self._lost(result)
        elif result[0] == "answered":
            self._listener.answered(self, number, result[1])
        else:
            self._lost(EvaluatorError(result[1]), usable=False)

    def _lost(self, error: Exception, *, usable: bool = True) -> None:
        """The actor, or its node, is gone: Ray restarts it, and a new transport waits for that."""
        self._over = True
        if not usable or self._roster.dead(error):
            self._roster.end(self._actor)
            self._forget()
        if self._listener is not None:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            self._listener.lost(self, reason)
