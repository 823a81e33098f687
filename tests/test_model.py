"""The plain values: sizes, and what is reported."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.model import EngineStatistics, Progress, Report, Size, parse_size

POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

REPORT = Report(raw_bytes=10, compressed_bytes=4, seconds=0.5, frames=1)
VALUES = [REPORT, Progress(1, 2, 3, None), EngineStatistics(*range(10))]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        (1 << 70, 1 << 70),
        ("1", 1),
        ("007", 7),
        ("1B", 1),
        ("512k", 512 << 10),
        ("512K", 512 << 10),
        ("512kb", 512 << 10),
        ("4M", 4 << 20),
        ("4MB", 4 << 20),
        ("4MiB", 4 << 20),
        ("4mib", 4 << 20),
        ("  4 MiB\n", 4 << 20),
        ("3G", 3 << 30),
        ("2T", 2 << 40),
    ],
)
def test_sizes_are_read(size: Size, expected: int) -> None:
    """An int is bytes; units are powers of 1024, whichever way they are spelled."""
    assert parse_size(size) == expected


@settings(deadline=None)
@given(
    st.integers(1, 1 << 80),
    st.sampled_from(sorted(POWERS)),
    st.sampled_from(["", "B", "iB"]),
    st.sampled_from(["", " ", "\t "]),
    st.sampled_from([str, str.lower, str.upper]),
)
def test_every_spelling_is_one_size(
    number: int, unit: str, ending: str, space: str, case: object
) -> None:
    """Case, spaces and the ending do not matter."""
    assert callable(case)
    ending = ending if unit else ending.replace("i", "")
    spelled = case(f"{space}{number}{space}{unit}{ending}{space}")
    assert parse_size(spelled) == number * 1024 ** POWERS[unit]


@pytest.mark.parametrize(
    "size",
    [
        *(0, -1, -(1 << 70), "0", "0 MiB", "-1", "+1", "", " ", "M", "MiB", "1.5M", "1,5M", "1e6"),
        *("0x10", "1_000", "4 Mi B", "4MM", "4P", "4Mib/s", "nan", "4\u212a", "4\u212aiB", "4M\0"),
        "9" * 5000,
    ],
)
def test_what_is_no_size_is_a_value_error(size: Size) -> None:
    """Neither a positive int nor the text of one: and the error names the argument."""
    with pytest.raises(ValueError, match=r"^chunk_size must be "):
        parse_size(size, "chunk_size")


@pytest.mark.parametrize("size", [None, True, False, 1.0, math.nan, b"4M", [4], object()])
def test_what_has_no_size_is_a_type_error(size: object) -> None:
    """Only int and str are sizes; a bool is not meant as one."""
    with pytest.raises(TypeError, match=r"^memory_limit must be .*, not " + type(size).__name__):
        parse_size(size, "memory_limit")  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text() | st.from_regex(r"\s*\d+\s*[KMGT]?(?:I?B)?\s*", fullmatch=True))
def test_any_text_is_a_size_or_a_value_error(size: str) -> None:
    """No text leads to another exception, or to a size that is not positive."""
    try:
        assert parse_size(size) > 0
    except ValueError as error:
        assert str(error).startswith("size must be ")  # noqa: PT017


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_plain(value: Report | Progress | EngineStatistics) -> None:
    """They compare, hash and pickle as values, and nobody changes them by mistake."""
    twin = pickle.loads(pickle.dumps(value))
    assert type(twin) is type(value)
    assert twin == value
    assert hash(twin) == hash(value)
    for name in ("raw_bytes", "another"):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)


def test_ratio() -> None:
    """Raw bytes for each compressed byte, and no division by zero."""
    for raw, compressed, ratio in ((10, 4, 2.5), (10, 0, 0.0), (0, 4, 0.0)):
        report = Report(raw_bytes=raw, compressed_bytes=compressed, seconds=0.5, frames=1)
        assert report.ratio == ratio


def test_a_report_leaves_nothing_out_by_default() -> None:
    """One file, nothing skipped, no warnings."""
    assert (REPORT.files, REPORT.skipped, REPORT.skipped_count) == (1, (), 0)
    assert REPORT.warnings == ()
