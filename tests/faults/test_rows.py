"""The table of faults, and the tests that it names."""

from __future__ import annotations

import importlib

import pytest

from .rows import ROWS


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_tests_that_exist(row: str) -> None:
    """A row without a test, or with one that has another name by now, is not shown."""
    assert ROWS[row]
    for place in ROWS[row]:
        module, name = place.split("::")
        test = getattr(importlib.import_module(f"tests.{module.replace('/', '.')}"), name)
        assert callable(test), place
        assert test.__doc__, place
