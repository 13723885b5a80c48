"""The allocator's setting is taken where there is glibc, and changes no result."""

from __future__ import annotations

import platform
import subprocess
import sys

CODE = """
import resource, torch
from setsail.train.allocator import keep_freed_memory
print(keep_freed_memory())
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def test_freed_memory_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    taken, num_faults = done.stdout.split()
    assert taken == str(platform.libc_ver()[0] == "glibc")
    if taken == "True":
        assert int(num_faults) < 2000  # 16,384 pages each time otherwise
