"""The YAML file that describes a segmenter of others: a program, or the file of a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chiasm.errors import UsageError, explain
from chiasm.image.modality import modality_name

ENDINGS = (".yaml", ".yml")


class Description(BaseModel):
    """What every segmenter of others can be described by.

    Parameters
    ----------
    name : str
        The name in reports; by default that of the program or the file.
    modality : str or None
        The modality that it needs; None for any.
    brain_only : bool or None
        Whether it wants skull-stripped brains; None if that is not known.
    labels : dict
        Label value → name.
    time_limit : float
        The minutes after which one scan is given up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    modality: str | None = None
    brain_only: bool | None = None
    labels: dict[int, str] = {}
    time_limit: float = Field(default=120.0, gt=0, allow_inf_nan=False)

    @field_validator("modality")
    @classmethod
    def _is_known(cls, given: str | None) -> str | None:
        return None if given is None else modality_name(given, "modality")

    @property
    def seconds(self) -> float:
        """The time limit in seconds."""
        return 60 * self.time_limit


Kind = TypeVar("Kind", bound=Description)


def content_of(path: str | Path, argument: str = "--segmenter") -> dict[str, Any] | None:
    """The content of a YAML file; None if the name is not that of an existing YAML file.

    Raises
    ------
    UsageError
        The file cannot be read, or holds no settings.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return None
    return _read(path, argument)


@cache
def _read(path: Path, argument: str) -> dict[str, Any]:
    import yaml

    legal = "a YAML file of settings, such as command or network, modality and labels"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        problem = f"cannot be read ({' '.join(str(error).split())})"
        raise UsageError(explain(argument, path, problem, legal)) from None
    if not isinstance(content, dict):
        raise UsageError(explain(argument, path, "holds no settings", legal))
    return content


def described(
    kind: type[Kind], content: dict[str, Any], path: str | Path, argument: str = "--segmenter"
) -> Kind:
    """The settings of a file; one that is unknown or illegal raises `UsageError`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            legal = ", ".join(kind.model_fields)
            raise UsageError(
                explain(argument, path, f"has the unknown setting {place}", legal)
            ) from None
        given = "" if first["type"] == "missing" else f" {first['input']!r}"
        problem = f"has an illegal setting {place}{given}"
        raise UsageError(explain(argument, path, problem, first["msg"])) from None
