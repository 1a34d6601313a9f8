"""The executors by their names."""

from __future__ import annotations

from importlib.util import find_spec

from chiasm.cohort.recipe import Recipe
from chiasm.cohort.run import Executor, Local
from chiasm.errors import UsageError, explain

LOCAL, RAY = EXECUTORS = ("local", "ray")


def executor_of(name: str, workers: int | None, recipe: Recipe) -> Executor:
    """The executor of a name.

    Parameters
    ----------
    name : {"local", "ray"}
    workers : int or None
        Number of processes of Ray; None stands for 1.
    recipe : Recipe
        What the processes of Ray load once and then do with every scan.

    Raises
    ------
    UsageError
        The name is not known, the number of workers is below 1 or is given for one process, or Ray
        is not installed.
    """
    if name not in EXECUTORS:
        raise UsageError(explain("--executor", name, "is not known", ", ".join(EXECUTORS)))
    if workers is not None and workers < 1:
        raise UsageError(explain("--workers", workers, "is not legal", "at least 1"))
    if name == LOCAL:
        if workers is not None:
            problem = "changes nothing, because the executor local is one process"
            raise UsageError(explain("--workers", workers, problem, "--executor ray"))
        return Local()
    if find_spec("ray") is None:
        raise UsageError(explain("--executor", name, "needs Ray", "pip install 'chiasm[ray]'"))
    from chiasm.cohort.ray_workers import RayWorkers

    return RayWorkers(recipe, workers or 1)
