"""Data that the command line is tried with."""

from __future__ import annotations

from ..help.data import noise, text

KIB, MIB = 1 << 10, 1 << 20
SMALL = text(30 * KIB)
LARGE = text(3 * MIB) + noise(2 * MIB)
