"""The machine: devices, memory, cost and progress."""
