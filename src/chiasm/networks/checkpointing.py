"""Gradient checkpointing: activations recomputed in the backward pass; less memory, more time."""

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

from chiasm.networks.ms_spade import SPADEBlock

# Each holds most of what its network's backward pass needs, and little of it goes in and out.
BLOCKS = (TwoConv, DiffusionUNetResnetBlock, VQVAEResidualUnit, SPADEBlock)


def checkpoint_blocks(module: nn.Module) -> int:
    """Keep of every block of the networks what goes in alone; returns how many there are.

    Results, gradients and the state that is saved stay what they were.
    """
    inner = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, BLOCKS)
    ]
    for parent, name, child in inner:
        # A partial, and no closure: a copy of the network then means its own block.
        setattr(parent, name, checkpoint_wrapper(child, context_fn=partial(_contexts, child)))
    return len(inner)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What the block is run in, and run again in."""
    return nullcontext(), _same_statistics(block)


@contextmanager
def _same_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms have counted this batch once already."""
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
    assert norm.num_batches_tracked is not None  # it tracks its statistics
    return norm.num_batches_tracked
