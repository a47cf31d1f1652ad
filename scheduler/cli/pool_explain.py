"""`millpond pool explain`: what a pool decided and why, from kept inputs that are decided upon again."""

from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scheduler.cli.completion import pool_names
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, FAILED, AsJson, Stack
from scheduler.cli.tables import console, moment, print_json, printable
from scheduler.decision_document import indented, load_record
from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.explain.decision import still_held, tell, title
from scheduler.model import Sample
from scheduler.views import DecisionStory, KeptDecision

_HEADINGS = (
    ("Seen", "seen"),
    ("Wanted", "wanted"),
    ("Decided", "decided"),
    ("What kept it from more", "held_back"),
    ("Replayed", "replayed"),
)


def explain(
    name: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="The pool's name.", autocompletion=pool_names)
    ] = None,
    when: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="What held then: 2026-03-01T12:30, or 12:30 of today; local time."),
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=50, help="So many decisions, the newest last.")] = 1,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the decision with its inputs there, too.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="FILE", help="Explain and decide again what --export wrote; no scheduler needed."
        ),
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Tell what a pool saw, wanted and decided, what kept it from doing more, and decide again from the same inputs.

    A decision holds until the next one that differs, so --at gives the last one before. What is exported has names of
    nodes, groups, jobs and messages in it, and what Azure said of refusals; no content of tasks. With --replay, the
    exit code is 1 when another decision comes out.
    """
    if replay is not None:
        if name is not None or when is not None or export is not None:
            raise InvalidRequestError("--replay FILE stands alone: the file says which pool and when")
        story = tell(load_record(_read(replay)))
        _print((story,), as_json)
        raise typer.Exit(0 if story.same else FAILED)
    if name is None:
        raise InvalidRequestError("name a pool, or a file with --replay")
    until = None if when is None else parse_instant(when, datetime.now().astimezone())
    with scheduler_of(stack) as service:
        kept = service.list_kept_decisions(name, last, until)
        samples = service.list_samples(name) if until is not None else ()
    if not kept:
        raise NotFoundError(_nothing(name, until))
    if export is not None:
        _write(export, kept[-1])
    stories = tuple(tell(load_record(each.document), each.decisions) for each in kept)
    _print(stories, as_json, [sample for sample in samples if until is not None and sample.at <= until][-1:])


def parse_instant(text: str, now: datetime) -> datetime:
    """Read an instant: ISO 8601, or a time of today; without a zone, in that of `now`."""
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.combine(now.date(), clock, clock.tzinfo or now.tzinfo)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequestError(f"{text!r} is no time; write 2026-03-01T12:30 or 12:30") from error
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=now.tzinfo)


def _nothing(name: str, until: datetime | None) -> str:
    if until is None:
        return f"nothing has been decided about pool {name} yet; `millpond pool show {name}` says what it has"
    return (
        f"no decision about pool {name} from before {moment(until)} is kept; inputs are kept for a month, less where a "
        f"pool is very large. `millpond pool show {name} --json` lists what is kept of decisions without inputs"
    )


def _print(stories: tuple[DecisionStory, ...], as_json: bool, then: Sequence[Sample] = ()) -> None:
    """Print stories, and how the pool stood at the instant asked for, which may be long after the last of them."""
    if as_json:
        print_json({"decisions": stories, "timeline": then})
        return
    page = console()
    for story in stories:
        page.print(printable(title(story)), markup=False, style="bold")
        for heading, field in _HEADINGS:
            _section(page, heading, getattr(story, field))
    for sample in then:
        page.print(still_held(sample), markup=False)


def _section(page: Console, heading: str, lines: tuple[str, ...]) -> None:
    if lines:
        page.print(f"  {heading}")
    for line in lines:
        page.print(printable(f"    {line}"), markup=False)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path} cannot be read: {error}") from error


def _write(path: Path, kept: KeptDecision) -> None:
    try:
        path.write_text(indented(kept.document), encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be written: {error}") from error
