"""Run the tasks of a cohort in several processes with Ray, on one machine or on a cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from chiasm import files
from chiasm.cohort.recipe import Recipe
from chiasm.cohort.run import How, Outcome, Task
from chiasm.errors import CaseError, UsageError, explain

# So often a case is done whose worker was lost, before it counts as failed.
TRIES = 3


class Worker:
    """Loads the models once and does one task after another."""

    def __init__(self, recipe: Recipe, plugins: str) -> None:
        from chiasm.machine import terminal
        from chiasm.registry import load_plugins

        if plugins:
            os.environ["CHIASM_PLUGINS"] = plugins
            load_plugins()
        terminal.set_up(logging.ERROR)
        self.pipelines = recipe.pipelines()
        for one in self.pipelines:
            one.load()

    def do(self, task: Task, place: int, how: How) -> Outcome:
        """Do one task with the pipeline at this place."""
        return how(replace(task, pipeline=self.pipelines[place]))


class RayWorkers:
    """Does tasks in the processes of Ray.

    A case whose process is lost, for example because the memory was full, is done again by another
    process, at most `TRIES` times.

    Parameters
    ----------
    recipe : Recipe
        What every process loads.
    workers : int
        The number of processes. They share the GPUs that Ray knows.
    """

    def __init__(self, recipe: Recipe, workers: int) -> None:
        if recipe.threads is None:  # the processes share the CPUs
            recipe = replace(recipe, threads=max(1, (os.cpu_count() or 1) // workers))
        self.recipe, self.workers = recipe, workers
        if not os.environ.get("RAY_ADDRESS"):
            self._check_cpus(workers, os.cpu_count() or 1)

    def _check_cpus(self, workers: int, there: float) -> None:
        """Refuse (`UsageError`) more than there are, for which Ray would wait for ever."""
        needed = workers * (self.recipe.threads or 1)
        if needed > there:
            problem = f"needs {needed:g} CPUs, and Ray has {there:g}"
            legal = "fewer, or fewer --threads"
            raise UsageError(explain("--workers", self.workers, problem, legal))

    def outcomes(self, tasks: Sequence[Task], do: How) -> Iterator[tuple[int, Outcome]]:
        """See `chiasm.cohort.run.Executor`."""
        ray, own = _begin()
        waiting = deque((number, 1) for number in range(len(tasks)))
        running: dict[Any, tuple[Any, int, int]] = {}
        try:
            idle = self._workers(ray, min(self.workers, len(tasks)))
            while waiting or running:
                while waiting and idle:
                    number, tries = waiting.popleft()
                    worker = idle.pop()
                    # The models stay where they are.
                    sent = replace(tasks[number], pipeline=None)  # type: ignore[arg-type]
                    started = worker.do.remote(sent, tasks[number].place, do)
                    running[started] = worker, number, tries
                (ended, *_), _ = ray.wait([*running], num_returns=1)
                worker, number, tries = running.pop(ended)
                idle.append(worker)
                try:
                    yield number, ray.get(ended)
                except ray.exceptions.RayActorError:
                    if tries < TRIES:
                        waiting.append((number, tries + 1))
                    else:
                        yield number, self._lost(tasks[number], do)
                except ray.exceptions.RayError as error:
                    yield number, _failed(tasks[number], _first_line(error))
        finally:
            if own:
                ray.shutdown()
            for _, number, _ in running.values():
                for path in tasks[number].written:
                    files.remove_drafts(path)

    def _workers(self, ray: Any, count: int) -> list[Any]:
        there = ray.cluster_resources()
        self._check_cpus(count, float(there.get("CPU", 0)))
        gpus = float(there.get("GPU", 0))
        asked = {"num_cpus": self.recipe.threads or 1, "num_gpus": gpus / self.workers}
        kind = ray.remote(Worker).options(max_restarts=-1, **asked)
        plugins = os.environ.get("CHIASM_PLUGINS", "")
        return [kind.remote(self.recipe, plugins) for _ in range(count)]

    def _lost(self, task: Task, how: How) -> Outcome:
        for path in task.written:
            files.remove_drafts(path)
        problem = f"was lost {TRIES} times, because its process ended without an error"
        legal = "a machine with more memory, or fewer --workers"
        return _failed(task, explain("-i", task.case.source, problem, legal))


def _failed(task: Task, message: str) -> Outcome:
    return Outcome({"input": task.case.source, "error": message}, message)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _begin() -> tuple[Any, bool]:
    """Ray, connected, and whether it was started here."""
    # Nothing is sent to the makers of Ray, and its dashboard stays closed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return ray, False
    address = os.environ.get("RAY_ADDRESS")
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        how |= {"include_dashboard": False, "address": "local"}
    stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**how)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stop)  # Ray puts its own in place of it
    except Exception as error:
        problem = f"could not be started ({_first_line(error)})"
        legal = "a Ray cluster at RAY_ADDRESS, or no RAY_ADDRESS for this machine"
        raise CaseError(explain("--executor", "ray", problem, legal)) from None
    return ray, True
