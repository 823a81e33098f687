"""The processor's counter of instructions, as perf_event_open(2) has it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

_NUMBERS: Final = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _INSTRUCTIONS = 0, 1
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6


class Instructions:
    """Counts those of this process and of all it starts, outside of the kernel.

    Most virtual machines and containers have no such counter.
    """

    def __init__(self, kind: int = _HARDWARE, event: int = _INSTRUCTIONS) -> None:
        flags = _INHERIT | _NO_KERNEL | _NO_HYPERVISOR
        # type, size, config, sample_period, sample_type, read_format, flags, and two of no use
        attributes = struct.pack("=IIQQQQQQQ", kind, 64, event, 0, 0, 0, flags, 0, 0)
        number = _NUMBERS.get(platform.machine(), -1)
        call = ctypes.CDLL(None, use_errno=True).syscall
        self._descriptor: int = call(number, attributes, 0, -1, -1, 0)

    def read(self) -> int:
        """Return how many there were, or 0 where nothing counts them."""
        if self._descriptor < 0:
            return 0
        return int.from_bytes(os.read(self._descriptor, 8), "little")
