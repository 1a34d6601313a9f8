"""Networks of MONAI, built from a name and arguments in a model's configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from chiasm.errors import UsageError, explain
from chiasm.registry import NETWORKS


class NetworkSettings(BaseModel):
    """The registered name of a network and the arguments of its constructor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = {}

    def build(
        self, spatial_dims: int, in_channels: int, out_channels: int, argument: str = "network"
    ) -> Any:
        """Build the torch module with initial weights. Errors name the ``argument``.

        ``forward(x, t)`` takes x of shape (B, in_channels, \\*spatial) and t of shape (B,) or
        None, and returns (B, out_channels, \\*spatial). Every spatial size must be a multiple of
        ``network.divisible_by``.

        Raises
        ------
        UsageError
            The name is not known, or the network does not accept an argument.
        """
        build = NETWORKS.load(self.name, f"{argument}.name")
        try:
            return build(spatial_dims, in_channels, out_channels, **self.arguments)
        except (TypeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            legal = "arguments that the MONAI network of this name accepts"
            raise UsageError(explain(argument, self.name, problem, legal)) from None
