"""`millpond pool shadow`: a proposed policy beside the live one, over the work that the pool had."""

import typing
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

from scheduler.autoscale.inputs import DecisionRecord
from scheduler.cli.completion import pool_names
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples
from scheduler.cli.pools import chosen, pool
from scheduler.cli.reports import history_note
from scheduler.cli.tables import console, print_json, printable
from scheduler.decision_document import load_record
from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.explain.decision import difference, tell
from scheduler.policy import ScalingPolicy
from scheduler.ports.job_service import JobService
from scheduler.simulator.days import Account, Figures, recorded, replayed, world_of
from scheduler.simulator.quantities import seconds_of, span_text
from scheduler.simulator.readers.history import read_history, record_history

# More than a month of samples and decisions, which is what a scheduler keeps.
_MOST = 100_000
_SHOWN_PROBLEMS = 5


@pool.command(
    epilog=examples(
        "millpond pool shadow risk                  the policy that its settings propose as `shadow`",
        "millpond pool shadow risk --set acceptable_wait=1min --set max_nodes=20",
        "millpond pool shadow risk --days 30 --json",
    )
)
def shadow(
    name: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.", autocompletion=pool_names)],
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="NAME=VALUE", help="A field of the policy as it would be; may be repeated."),
    ] = [],  # noqa: B006
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="So many days back.")] = 7,
    seed: Annotated[int, typer.Option("--seed", help="Of the boot times that are drawn.")] = 0,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Tell day by day what a proposed policy would have cost and how long tasks would have waited; nothing is changed.

    The pool's recorded tasks are replayed through the live policy and the proposed one, with the boot times that were
    measured; how far the first replay is from what was, the second may be, too. Tasks that have not ended are in what
    was, and not in the replays.
    """
    with scheduler_of(stack) as service:
        view = chosen(service.list_pools(), name)
        newest = _newest(service, name)
        live = newest.inputs.policies.get(name, ScalingPolicy())
        proposed = changed(newest.inputs.proposed.get(name, live), settings)
        if proposed == live:
            raise InvalidRequestError(
                f"nothing is proposed for pool {name}: declare `shadow` in its settings, or give --set NAME=VALUE"
            )
        since = datetime.now(UTC) - timedelta(days=days)
        reading = read_history(f"pool {name}, {days} days back", "\n".join(record_history(service, name, since)))
        samples, decisions = service.list_samples(name, _MOST), service.list_decisions(name, _MOST)
    for line in history_note(reading, _SHOWN_PROBLEMS):
        typer.echo(line, err=True)
    world = world_of(name, view.groups, reading.boots)
    work, begins_at = reading.workload, reading.workload.begins_at or since
    with Console(stderr=True).status(f"replaying {len(work):,} tasks"):
        accounts = (
            recorded(work, begins_at, samples, decisions),
            replayed("live policy, replayed", work, begins_at, world, live, seed),
            replayed("proposed policy, replayed", work, begins_at, world, proposed, seed),
        )
    now = tell(replace(newest, inputs=replace(newest.inputs, proposed={name: proposed})))
    if as_json:
        print_json({"pool": name, "live": live, "proposed": proposed, "accounts": accounts, "now": now})
        return
    page = console()
    page.print(f"Pool {name}: {printable(difference(live, proposed))}", markup=False, style="bold")
    page.print(_table(accounts))
    page.print(f"At the last decision, {now.at:%Y-%m-%d %H:%M:%S} UTC:", markup=False)
    for line in now.proposed:
        page.print(printable(f"  {line}"), markup=False)


def changed(policy: ScalingPolicy, settings: Sequence[str]) -> ScalingPolicy:
    """Give a policy with fields as people write them: spans as `90`, `90s` or `5min`, `none`, else numbers or JSON."""
    hints = typing.get_type_hints(ScalingPolicy)
    values: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise InvalidRequestError(f"--set {setting}: expected NAME=VALUE")
        if name not in hints:
            known = ", ".join(field.name for field in fields(ScalingPolicy))
            raise InvalidRequestError(f"--set {setting}: a policy has no {name!r}; it has: {known}")
        values[name] = _value(setting, text, hints[name])
    try:
        return replace(policy, **values)
    except ValueError as error:
        raise InvalidRequestError(f"the proposed policy cannot be: {error}") from error


def _value(setting: str, text: str, kind: Any) -> Any:
    allowed = typing.get_args(kind) or (kind,)
    if text.lower() == "none" and type(None) in allowed:
        return None
    if timedelta in allowed:
        return timedelta(seconds=seconds_of(text))
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_json(text)
    except ValidationError:
        pass
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        raise InvalidRequestError(f"--set {setting}: {error.errors()[0]['msg']}") from error


def _newest(service: JobService, name: str) -> DecisionRecord:
    kept = service.list_kept_decisions(name)
    if not kept:
        raise NotFoundError(
            f"nothing has been decided about pool {name} yet, so there is no live policy to compare with"
        )
    return load_record(kept[0].document)


def _table(accounts: Sequence[Account]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("day")
    table.add_column("policy")
    for heading in ("node-hours", "node starts", "tasks", "mean wait", "p95 wait", "longest wait"):
        table.add_column(heading, justify="right")
    by_day = [dict(each.days) for each in accounts]
    for day in sorted(set().union(*by_day)):
        for each, figures in zip(accounts, by_day, strict=True):
            _add(table, day.isoformat() if each is accounts[0] else "", each.name, figures.get(day))
    for each in accounts:
        _add(table, "all days" if each is accounts[0] else "", each.name, each.total)
    return table


def _add(table: Table, day: str, policy: str, figures: Figures | None) -> None:
    known = figures or Figures(0.0, 0, 0, 0.0, 0.0, 0.0)
    waits = (span_text(known.mean_wait), span_text(known.p95_wait), span_text(known.longest_wait))
    counts = (f"{known.node_hours:,.1f}", f"{known.node_starts:,}", f"{known.tasks:,}")
    table.add_row(day, policy, *counts, *(waits if known.tasks else ("-", "-", "-")))
