"""Gradient checkpointing: activations are recomputed in the backward pass to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from monai.networks.nets.basic_unet import TwoConv
from monai.networks.nets.diffusion_model_unet import DiffusionUNetResnetBlock
from monai.networks.nets.vqvae import VQVAEResidualUnit
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.modules.batchnorm import _BatchNorm

# These blocks of MONAI hold most of the activations of their networks, and their inputs and outputs
# are small. A block of a method's own says `checkpointed = True`.
BLOCKS = (TwoConv, DiffusionUNetResnetBlock, VQVAEResidualUnit)


def checkpoint_blocks(module: nn.Module) -> int:
    """Keep only the input of every block for the backward pass; returns the number of blocks.

    Results, gradients and the saved state do not change.
    """
    inner = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, BLOCKS) or getattr(child, "checkpointed", False) is True
    ]
    for parent, name, child in inner:
        # A partial, not a closure: a copy of the network then refers to its own block.
        setattr(parent, name, checkpoint_wrapper(child, context_fn=partial(_contexts, child)))
    return len(inner)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts of the first run of a block and of its recomputation."""
    return nullcontext(), _same_statistics(block)


@contextmanager
def _same_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the statistics of batch norms, which have already counted this batch once."""
    norms = [
        one for one in block.modules() if isinstance(one, _BatchNorm) and one.track_running_stats
    ]
    before = [(norm.momentum, _counter(norm).clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            _counter(norm).copy_(count)


def _counter(norm: _BatchNorm) -> Tensor:
    assert norm.num_batches_tracked is not None  # set because it tracks its statistics
    return norm.num_batches_tracked
