"""HTML from templates: all is escaped, nothing may be undefined, and every answer forbids what it does not need."""

from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from scheduler.explain import schedule as schedule_words
from scheduler.explain.words import span
from scheduler.model import Job, Task

_KIBIBYTE = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

# Nothing but our own style sheet, script and answers; nothing may frame the page or be sent from it.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

STATIC = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Answer with a page."""
    text = _ENVIRONMENT.get_template(f"{template}.html.j2").render(**values)
    return HTMLResponse(text, status_code=status, headers=SECURITY_HEADERS)


def static(name: str) -> Response | None:
    """Answer with the style sheet or the script; None for anything else."""
    media_type = STATIC.get(name)
    if media_type is None:
        return None
    data = files(__package__).joinpath("static", name).read_bytes()
    return Response(data, media_type=media_type, headers=SECURITY_HEADERS)


def clock(instant: datetime | None) -> str:
    """Write an instant, in UTC."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def size(length: int) -> str:
    """Write a number of bytes."""
    value = float(length)
    for unit in _UNITS:
        if value < _KIBIBYTE or unit == _UNITS[-1]:
            return f"{length} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIBIBYTE
    raise AssertionError  # the last unit takes all


def outcome(record: Job | Task) -> str:
    """Say in one word where a job or a task is: how it ended, or else its state."""
    return record.state.value if record.result is None else record.result.value


def took(start: datetime | None, end: datetime | None) -> str:
    """Write how long something took; nothing while it has not begun and ended."""
    return span(end - start) if start is not None and end is not None else ""


def segment(text: object) -> str:
    """Quote a text as one part of a path."""
    return quote(str(text), safe="")


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "clock": clock,
        "size": size,
        "outcome": outcome,
        "segment": segment,
        "when": schedule_words.when,
        "became": schedule_words.became,
        "overlap": schedule_words.overlap,
        "window": schedule_words.window,
        "span": lambda value: span(value if isinstance(value, timedelta) else timedelta(seconds=value)),
    }
    made.globals["took"] = took
    return made


_ENVIRONMENT = _environment()
