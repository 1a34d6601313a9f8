"""Freed memory stays in the process, so that it is not cleared again."""

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from chiasm.machine.allocator import keep_freed_memory
known = keep_freed_memory()
import numpy as np
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
use()
print(known, max(use() for _ in range(3)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is glibc's")
def test_memory_that_was_freed_is_used_again_without_page_faults():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    known, faults = run.stdout.split()
    if known == "False":
        pytest.skip("the C library does not know the setting")
    pages = 2**26 // resource.getpagesize()
    assert int(faults) < pages / 20
