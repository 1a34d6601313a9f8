"""How much memory torch operations hold at one time."""

from chiasm.machine.memory import LivingTensors


def peak_memory(function):
    """Bytes of tensors that ``function`` makes and holds at one time, and what it returns."""
    with LivingTensors() as living:
        result = function()
    return living.peak, result
