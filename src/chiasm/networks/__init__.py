"""Networks: MONAI's, by name and arguments from a config."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from chiasm.errors import UsageError, explain
from chiasm.registry import NETWORKS


class NetworkSettings(BaseModel):
    """A network's registered name and the arguments of its constructor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = {}

    def build(self, spatial_dims: int, in_channels: int, out_channels: int) -> Any:
        """The torch module with fresh weights; arguments it does not take raise `UsageError`.

        ``forward(x, t)`` takes x of shape (B, in_channels, \\*spatial) and t of shape (B,) or
        None, and returns (B, out_channels, \\*spatial); every spatial size must be a multiple of
        ``network.divisible_by``.
        """
        build = NETWORKS.load(self.name, "network.name")
        try:
            return build(spatial_dims, in_channels, out_channels, **self.arguments)
        except (TypeError, ValueError) as error:
            problem = str(error).splitlines()[0]
            legal = "what the MONAI network of this name takes"
            raise UsageError(explain("network", self.name, problem, legal)) from None
