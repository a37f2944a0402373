"""Worker processes that may die: results stay in order, and only what a dead one was working on is lost.

Each process has a pipe of its own and holds one task at a time, so that whose death it was is never in doubt (a
``ProcessPoolExecutor`` that loses one process loses all, and cannot say which task was to blame).
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import connection
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import cv2

from .errors import EcgError

LATE = "took too long"  # how a worker died that was killed for it
_STARTS = 3  # processes in a row that end before they begin: something is wrong with all of them

# Parts of a task that were begun (as told by the job; "" before the first), and how workers died of each.
Begun: TypeAlias = Mapping[str, Sequence[str]]
Tell: TypeAlias = Callable[[str], None]

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)


class Job(Protocol[T, R]):
    """What is done with each task; it travels to every worker by pickle."""

    def make(self, task: T, tell: Tell, begun: Begun) -> R:
        """The task's result. What it raises stops everything.

        ``tell`` says which part of the task comes now. A task whose worker died is made again, and ``begun`` says how
        far it came before: to leave out what has proved deadly is the job's business.
        """


class _Task:
    def __init__(self, what: Any, result: Any) -> None:
        self.what, self.result = what, result
        self.given = False
        self.part = ""
        self.begun: dict[str, list[str]] = {}

    def begin(self, part: str) -> None:
        self.part = part
        self.begun.setdefault(part, [])

    @property
    def deadly(self) -> bool:
        return any(self.begun.values())


class _Worker:
    def __init__(self, job: Job[Any, Any], alone: bool) -> None:
        # Spawned everywhere: forking a process that has threads (OpenCV's) may hang, and Windows knows nothing else.
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(job, theirs, alone), daemon=True)
        self.task: _Task | None = None
        self.ready = False
        self.heard = 0.0  # when it was given its task, or last said something
        with _no_interrupt(), nullcontext() if alone else _one_thread():
            self.process.start()
        theirs.close()  # or its end would not be noticed here

    def give(self, task: _Task) -> None:
        task.given, self.task = True, task
        self.heard = time.monotonic()
        task.begin("")
        with suppress(OSError):  # if it is dead, ``hear`` will find out
            self.pipe.send((task.what, task.begun))

    def hear(self) -> bool:
        """Take what has arrived. False if it died."""
        while True:
            alive = self.process.is_alive()  # asked first: what it said before its death is still taken
            try:
                if not self.pipe.poll():
                    return alive
                kind, value = self.pipe.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                return False
            self._take(kind, value)

    def _take(self, kind: str, value: Any) -> None:
        self.heard = time.monotonic()
        if kind == "ready":
            self.ready = True
            return
        assert self.task is not None
        if kind == "part":
            self.task.begin(value)
        elif kind == "error":
            raise value
        else:
            self.task.result, self.task = value, None

    def left(self, seconds: float | None) -> float | None:
        """Seconds until its present part has taken too long; None if it may take as long as it wants."""
        return None if seconds is None or not self.ready else max(0.0, self.heard + seconds - time.monotonic())

    def bury(self) -> str:
        """How it died."""
        self.pipe.close()
        self.process.join()
        code = self.process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class Crew(Generic[T, R]):
    """Worker processes for a job; ``results`` sets them to work. To be closed by ``with``.

    Each keeps to one thread, unless it is the only one. One that needs more than ``seconds`` for a part of a task is
    killed, and has died of LATE.
    """

    def __init__(self, job: Job[T, R], size: int, seconds: float | None = None) -> None:
        self.job, self.size, self.seconds = job, size, seconds
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def __enter__(self) -> Crew[T, R]:
        return self

    def __exit__(self, *error: object) -> None:
        """Let each finish what it is doing; a second Ctrl-C does not wait for that."""
        try:
            for worker in self._workers:
                worker.pipe.close()
            for worker in self._workers:
                worker.process.join(worker.left(self.seconds) if worker.task else None)
        finally:
            for worker in self._workers:
                worker.process.kill()

    def results(self, tasks: Iterable[T], known: Callable[[T], R | None] = lambda task: None) -> Iterator[R]:
        """A result for each task, in order; tasks are taken from the iterable only as they are needed.

        ``known`` gives the results that need no work.
        """
        todo, window = iter(tasks), 4 * self.size
        taken: deque[_Task] = deque()
        more = True
        while more or taken:
            while more and len(taken) < window:
                try:
                    what = next(todo)
                except StopIteration:
                    more = False
                else:
                    taken.append(_Task(what, known(what)))
            self._assign([task for task in taken if not task.given and task.result is None])
            if taken and taken[0].result is not None:
                yield taken.popleft().result
            elif taken:
                self._wait()

    def _assign(self, waiting: list[_Task]) -> None:
        self._workers = [worker for worker in self._workers if worker.task or worker.process.is_alive()]
        busy = [worker.task for worker in self._workers if worker.task]
        again = [task for task in (*busy, *waiting) if task.deadly]
        if again:  # by itself: it may have died because all of them together need too much memory
            waiting = [] if busy else again[:1]
        for task in waiting[: self.size - len(busy)]:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None:
                idle = _Worker(self.job, self.size == 1)
                self._workers.append(idle)
            idle.give(task)

    def _wait(self) -> None:
        """Until a worker says something, dies, or takes too long."""
        busy = [worker for worker in self._workers if worker.task is not None]
        limits = [left for worker in busy if (left := worker.left(self.seconds)) is not None]
        connection.wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], min(limits, default=None))
        for worker in busy:
            if not worker.hear():
                self._workers.remove(worker)
                self._lost(worker, worker.bury())
            elif worker.task and worker.left(self.seconds) == 0:
                worker.process.kill()
                self._workers.remove(worker)
                worker.bury()
                self._lost(worker, LATE)

    def _lost(self, worker: _Worker, how: str) -> None:
        self._failed_starts = 0 if worker.ready else self._failed_starts + 1
        if self._failed_starts == _STARTS:
            raise EcgError(
                f"worker processes end as soon as they are started ({how}). In a script, guard the call by "
                "if __name__ == '__main__'; else try workers=1."
            )
        if worker.task:
            worker.task.given = False
            if worker.ready:
                worker.task.begun[worker.task.part].append(how)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here do linear algebra in one thread each: they share the cores among themselves."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started here never see Ctrl-C, not even while they are starting; here, it comes a little later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which Process.start() would do, unblocking the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(job: Job[Any, Any], pipe: connection.Connection, alone: bool) -> None:
    """A worker's life: it ends when the parent hangs up, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business, and so is using several cores
    if not alone:
        cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        pipe.send(("ready", None))
        while True:
            task, begun = pipe.recv()
            try:
                answer = ("result", job.make(task, lambda part: pipe.send(("part", part)), begun))
            except Exception as error:  # noqa: BLE001 - it is raised in the parent
                answer = ("error", error)
            pipe.send(answer)
    except (EOFError, ConnectionError):
        sys.exit()


def _leave_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
