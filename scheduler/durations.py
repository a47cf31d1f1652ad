"""Durations as people write them in settings: `90s`, `5m`, `1h30m`, `250ms`, or ISO 8601 (`PT5M`)."""

import re
from datetime import timedelta

DURATION_RULE = "a duration with its unit, such as 90s, 5m, 1h30m or PT5M"

_UNITS = (("d", "days"), ("h", "hours"), ("m", "minutes"), ("s", "seconds"), ("ms", "milliseconds"))
_NUMBER = r"\d{1,9}(?:\.\d{1,6})?"
_SHORT = re.compile("".join(rf"(?:({_NUMBER}){unit})?" for unit, _ in _UNITS), re.ASCII)
_ISO = re.compile(rf"P(?:({_NUMBER})D)?(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read a duration; `ValueError` for anything else, a bare number included."""
    compact = text.strip()
    for pattern, names in ((_SHORT, [name for _, name in _UNITS]), (_ISO, [name for _, name in _UNITS[:4]])):
        found = pattern.fullmatch(compact)
        amounts = (
            {name: float(number) for name, number in zip(names, found.groups(), strict=True) if number} if found else {}
        )
        if amounts:
            return timedelta(**amounts)
    raise ValueError(f"{text!r} is not {DURATION_RULE}")


def write_duration(span: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, in its two greatest units: `1h30m`; what is left is cut off."""
    left = span // timedelta(milliseconds=1)
    parts: list[str] = []
    for unit, name in _UNITS:
        number, left = divmod(left, timedelta(**{name: 1}) // timedelta(milliseconds=1))
        if number or parts:
            parts.append(f"{number}{unit}" if number else "")
    return "".join(parts[:2]) or "0s"
