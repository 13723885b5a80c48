"""The allocator's setting is taken where there is glibc, and changes no result."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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
GIVEN_BACK = """
import torch
from setsail.train.allocator import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
pieces = [torch.ones(2**20) for _ in range(100)]  # 4 MiB each
last = pieces[-1]  # above the others: what is freed is a hole
del pieces
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


def test_freed_memory_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    taken, num_faults = done.stdout.split()
    assert taken == str(platform.libc_ver()[0] == "glibc")
    if taken == "True":
        assert int(num_faults) < 2000  # 16,384 pages each time otherwise


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has malloc_trim")
def test_holes_are_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 300 * 1024  # KiB, of 396 MiB
