"""The declaration of a method. It imports no torch, so the command line can list the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chiasm.errors import UsageError, explain, illegal_setting
from chiasm.methods.options import Options
from chiasm.registry import imported

if TYPE_CHECKING:
    from chiasm.training.objective import Objective


@dataclass(frozen=True)
class Method:
    """One way to translate a source modality to a target modality.

    Parameters
    ----------
    name : str
        The name under which it is registered in `chiasm.registry.METHODS`.
    translator : type or str
        The `chiasm.methods.base.Translator`, or ``"module:attribute"``.
    options : type
        The options that a user can set for one run, as a pydantic model that derives from
        `chiasm.methods.options.Options`. The command line and the reports are made from it.
    objective : type or str, optional
        The `chiasm.training.objective.Objective` of a method that can be trained.
    runs : tuple of str
        The methods whose models it can run. A method with an empty tuple needs no weights. It needs
        only the intensity scale of the target, which every translator's config holds.
    model_settings : tuple of str
        The training settings that a finished model keeps (``settings`` in its config).
    """

    name: str
    translator: Any
    options: type[Options] = Options
    objective: Any = None
    runs: tuple[str, ...] = ()
    model_settings: tuple[str, ...] = ()

    def load_translator(self) -> type[Any]:
        """The class of the translator; most of them import torch."""
        return imported(self.translator)

    def load_objective(self) -> type[Objective] | None:
        """The class of the objective; None if the method is not trained."""
        return imported(self.objective)

    def check(self, given: dict[str, Any]) -> Options:
        """Check the options of one run.

        Parameters
        ----------
        given : dict
            Option name → value; None means that the user did not give it.

        Raises
        ------
        UsageError
            This method does not have an option, or a value is illegal.
        """
        chosen = {key: value for key, value in given.items() if value is not None}
        for key, value in chosen.items():
            if key not in self.options.model_fields:
                problem = f"is not an option of the method {self.name}"
                legal = ", ".join(map(flag, self.options.model_fields)) or "no method option"
                raise UsageError(explain(flag(key), _shown(value), problem, legal))
        try:
            return self.options(**chosen)
        except ValidationError as error:
            first = error.errors()[0]
            own = first.get("ctx", {}).get("error")
            if isinstance(own, UsageError):
                raise UsageError(str(own)) from None
            key = str(first["loc"][0]) if first["loc"] else next(iter(chosen), "options")
            value = _shown(chosen.get(key, first.get("input")))
            said = illegal_setting(first, self.options)
            raise UsageError(explain(flag(key), value, *said)) from None


def flag(name: str) -> str:
    """The command-line flag of an option, for example ``--edit-from`` for ``edit_from``."""
    return f"--{name.replace('_', '-')}"


def _shown(value: Any) -> str:
    return "" if value is True else str(value)
