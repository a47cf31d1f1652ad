"""Durations as people write them, and as they are written for them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.durations import parse_duration, write_duration


@given(st.timedeltas(timedelta(0), timedelta(days=9999)))
def test_what_is_written_can_be_read(span: timedelta) -> None:
    """It is right to the second of its two greatest units, and never more than the duration."""
    read = parse_duration(write_duration(span))
    assert timedelta(0) <= span - read <= max(span / 24, timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=4), "4h"),
        (timedelta(days=1, minutes=5), "1d"),
    ],
)
def test_durations_are_short(span: timedelta, text: str) -> None:
    """What is nothing is left out."""
    assert write_duration(span) == text
