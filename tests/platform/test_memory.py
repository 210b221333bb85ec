"""What a worker frees it has again, without asking the system for every page."""

import platform
import subprocess
import sys

MIB = 16  # of a round, in pieces of one: as much as the arrays of a large group
ROUNDS = f"""
import gc, resource
from hefa_platform import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [bytearray(1 << 20) for _ in range({MIB})]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

memory.settle()
faults()
print(faults(), gc.get_freeze_count(), gc.get_threshold()[0])
"""


def test_freed_memory_is_kept_for_the_next_round() -> None:
    told = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True, timeout=60).stdout
    faults, frozen, threshold = map(int, told.split())
    assert frozen > 1_000, "what is here at the start is looked at no more"
    assert threshold == 20_000
    if platform.libc_ver()[0] == "glibc":  # others cannot be told
        assert faults < 64 * MIB, "a page of 4 kB for each fault: 256 of them are a MiB taken anew"
