"""The command, in a process that starts with the allocator that a run's workers have."""

import os
import sys
from typing import Final

from bench.machine.environment import ALLOCATOR_VARIABLES

_SET: Final = "VSR_BENCH_PEERS_ALLOCATOR"
"""Says that the process has started anew already: glibc reads its variables once, at the start."""

if __name__ == "__main__":
    if _SET not in os.environ:
        variables = {**os.environ, **ALLOCATOR_VARIABLES["retain"], _SET: "1"}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.peers", *sys.argv[1:]], variables)
    from benchmarks.peers.command import main

    sys.exit(main())
