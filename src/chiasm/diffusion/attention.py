"""Attention and features of a network, recorded while it runs.

Forward hooks read the queries and keys of each attention layer. The network is not changed, and
computes what it computes without them. Layers of MONAI (`monai.networks.blocks.SABlock`,
`monai.networks.blocks.CrossAttentionBlock`) and of diffusers (``Attention``) are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from monai.networks.blocks import CrossAttentionBlock, SABlock
from torch import Tensor, nn

from chiasm.errors import UsageError, explain


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer in one call.

    Attributes
    ----------
    layer : str
        The name of the layer in the network, as `torch.nn.Module.named_modules` gives it.
    cross : bool
        Whether the keys come from a context, such as a text, and not from the image.
    weights : Tensor, shape (B, queries, keys)
        The mean over the heads, float32. Each row sums to 1.
    queries : Tensor, shape (B, queries, channels)
        The queries of all heads side by side, float32.
    size : tuple of int
        The spatial size of the image of the queries; its product is their number.
    """

    layer: str
    cross: bool
    weights: Tensor
    queries: Tensor
    size: tuple[int, ...]


@dataclass
class Recorded:
    """What one or several calls of a network showed, in the order of the calls.

    Attributes
    ----------
    attention : list of AttentionMap
    features : dict
        Name of a layer → its output at the last call.
    """

    attention: list[AttentionMap] = field(default_factory=list)
    features: dict[str, Tensor] = field(default_factory=dict)


def attention_layers(network: nn.Module, *, cross: bool | None = None) -> list[str]:
    """The names of the attention layers, in the order of their definition.

    Parameters
    ----------
    network : Module
    cross : bool, optional
        Only cross-attention or only self-attention; by default both.
    """
    return [
        name
        for name, module in network.named_modules()
        if _is_attention(module) and cross in (None, _is_cross(module))
    ]


@contextmanager
def recorded(
    network: nn.Module,
    attention: Sequence[str] | None = None,
    features: Sequence[str] = (),
) -> Iterator[Recorded]:
    """Record the calls of a network inside a ``with`` block.

    Parameters
    ----------
    network : Module
        A U-Net of MONAI or of diffusers, or any module that contains one.
    attention : sequence of str, optional
        The names of the attention layers that are recorded; by default all.
    features : sequence of str
        The names of the layers whose outputs are recorded.

    Raises
    ------
    UsageError
        The network has no layer of this name, or one that is no attention layer.

    Examples
    --------
    >>> with recorded(unet) as shown:  # doctest: +SKIP
    ...     unet(x, time)
    >>> shown.attention[0].weights.shape  # doctest: +SKIP
    torch.Size([1, 64, 64])
    """
    modules = dict(network.named_modules())
    known = attention_layers(network)
    wanted = known if attention is None else list(attention)
    for name, legal in (*((one, known) for one in wanted), *((one, modules) for one in features)):
        if name not in legal:
            problem = "is not a layer of the network" if legal is modules else "has no attention"
            raise UsageError(explain("layer", name, problem, ", ".join(filter(None, legal))))
    shown = Recorded()
    sizes: dict[str, tuple[int, ...]] = {}
    handles: list[Any] = []
    for name in wanted:
        own = _Layer(name, modules[name], shown, sizes)
        handles += own.hooks(modules)
    for name in features:
        handles.append(modules[name].register_forward_hook(_keep(shown.features, name)))
    try:
        yield shown
    finally:
        for handle in handles:
            handle.remove()


def _keep(features: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: Any, output: Any) -> None:
        # Blocks of diffusers return tuples, whose first element is the image.
        features[name] = (output if isinstance(output, Tensor) else output[0]).detach()

    return hook


def _is_attention(module: nn.Module) -> bool:
    """Whether a module is an attention layer of a kind that is known."""
    if isinstance(module, SABlock | CrossAttentionBlock):
        return True
    theirs = type(module).__module__.startswith("diffusers.")
    return theirs and all(hasattr(module, one) for one in ("to_q", "to_k", "heads", "scale"))


def _is_cross(module: nn.Module) -> bool:
    if isinstance(module, CrossAttentionBlock):
        return True
    return bool(getattr(module, "is_cross_attention", False))


class _Layer:
    """The hooks of one attention layer."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        shown: Recorded,
        sizes: dict[str, tuple[int, ...]],
    ) -> None:
        self.name, self.module, self.shown, self.sizes = name, module, shown, sizes
        self.queries: Tensor | None = None
        self.keys: Tensor | None = None

    def hooks(self, modules: dict[str, nn.Module]) -> list[Any]:
        """Register all hooks: on the projections, on the layer, and on the blocks around it."""
        module: Any = self.module
        if getattr(module, "use_combined_linear", False):
            found = [module.qkv.register_forward_hook(self._combined)]
        else:
            found = [
                module.to_q.register_forward_hook(self._query),
                module.to_k.register_forward_hook(self._key),
            ]
        found.append(module.register_forward_hook(self._finished))
        parts = self.name.split(".")
        for depth in range(len(parts) + 1):
            around = ".".join(parts[:depth])
            found.append(modules[around].register_forward_pre_hook(self._sized(around)))
        return found

    def _sized(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor) and given[0].ndim > 3:
                self.sizes[name] = tuple(given[0].shape[2:])
            else:
                self.sizes.pop(name, None)

        return hook

    def _combined(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.queries, self.keys, _ = output.detach().chunk(3, dim=-1)

    def _query(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.queries = output.detach()

    def _key(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.keys = output.detach()

    def _finished(self, module: nn.Module, given: Any, output: Any) -> None:
        assert self.queries is not None
        assert self.keys is not None
        kind: Any = self.module
        heads = kind.num_heads if hasattr(kind, "num_heads") else kind.heads
        query, key = (self._by_head(one, heads) for one in (self.queries, self.keys))
        if getattr(kind, "norm_q", None) is not None:
            query, key = kind.norm_q(query), kind.norm_k(key)
        weights: Tensor | float = 0.0
        for head in range(heads):  # one at a time, because all together can be large
            scores = query[:, head] @ key[:, head].transpose(1, 2) * kind.scale
            weights = weights + scores.softmax(dim=-1) / heads
        assert isinstance(weights, Tensor)
        count = self.queries.shape[1]
        self.shown.attention.append(
            AttentionMap(
                self.name, _is_cross(kind), weights, self.queries.float(), self._size_of(count)
            )
        )
        self.queries = self.keys = None

    @staticmethod
    def _by_head(tokens: Tensor, heads: int) -> Tensor:
        batch, count, channels = tokens.shape
        return tokens.float().view(batch, count, heads, channels // heads).transpose(1, 2)

    def _size_of(self, count: int) -> tuple[int, ...]:
        """The size of the image that the innermost block around this layer was given."""
        parts = self.name.split(".")
        for depth in range(len(parts), -1, -1):
            size = self.sizes.get(".".join(parts[:depth]))
            if size is not None and math.prod(size) == count:
                return size
        return (count,)
