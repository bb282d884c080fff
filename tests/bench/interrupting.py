"""Ctrl-C at a known moment of a command that runs in the test's own process."""

import os
import signal
from typing import Any

from bench.process.launcher import Launcher


class Stops(Launcher):
    """A launcher that presses Ctrl-C at the n-th worker of all launchers together."""

    after = 0
    spawned = 0

    def spawn(self, target: str) -> Any:
        Stops.spawned += 1
        if Stops.spawned == Stops.after:
            os.kill(os.getpid(), signal.SIGINT)
        return super().spawn(target)
