"""What the shell completes: names that the scheduler knows, if it answers at once."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import typer

from scheduler.api.client import HttpJobService
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK
from scheduler.errors import MillpondError
from scheduler.model import NodePhase

# Somebody waits with a finger on the key: better no names than late ones.
_PATIENCE_SECONDS = 2.0
_MOST = 200

Item = tuple[str, str]


def job_ids(ctx: typer.Context, incomplete: str) -> list[Item]:
    """Complete the ids of jobs, newest first."""

    def known(service: HttpJobService) -> Iterator[Item]:
        for job in service.list_jobs()[:_MOST]:
            yield job.job_id, f"{job.state.value}, {job.counts.completed}/{job.counts.total} tasks"

    return _asked(ctx, incomplete, known)


def schedule_ids(ctx: typer.Context, incomplete: str) -> list[Item]:
    """Complete the ids of job schedules."""

    def known(service: HttpJobService) -> Iterator[Item]:
        for schedule in service.list_schedules()[:_MOST]:
            yield schedule.schedule_id, f"{schedule.state.value}, pool {schedule.pool}"

    return _asked(ctx, incomplete, known)


def pool_names(ctx: typer.Context, incomplete: str) -> list[Item]:
    """Complete the names of pools."""

    def known(service: HttpJobService) -> Iterator[Item]:
        for pool in service.list_pools():
            yield pool.name, f"{pool.current_nodes} nodes"

    return _asked(ctx, incomplete, known)


def node_names(ctx: typer.Context, incomplete: str) -> list[Item]:
    """Complete the names of nodes: of the pool named before, else of all pools; those that are gone come last."""

    def known(service: HttpJobService) -> Iterator[Item]:
        named = ctx.params.get("name")
        pools = [named] if named else [pool.name for pool in service.list_pools()]
        nodes = [node for pool in pools for node in service.list_nodes(pool)]
        for node in sorted(nodes, key=lambda node: node.phase is NodePhase.GONE)[:_MOST]:
            yield node.node_id, f"{node.phase.value}, pool {node.group.pool}"

    return _asked(ctx, incomplete, known)


def subjects(ctx: typer.Context, incomplete: str) -> list[Item]:
    """Complete what `why` explains: jobs, pools, nodes and schedules."""
    known = (job_ids, pool_names, node_names, schedule_ids)
    return [item for complete in known for item in complete(ctx, incomplete)]


def _asked(ctx: typer.Context, incomplete: str, question: Callable[[HttpJobService], Iterator[Item]]) -> list[Item]:
    """Ask the scheduler, and give nothing where it does not answer: a shell's line is no place for errors."""
    try:
        with scheduler_of(_stack(ctx), _PATIENCE_SECONDS) as service:
            return [item for item in question(service) if item[0].startswith(incomplete)]
    except (MillpondError, OSError, ValueError):
        return []


def _stack(ctx: typer.Context) -> str:
    params: dict[str, Any] = ctx.params
    return str(params.get("stack") or os.environ.get("MILLPOND_STACK") or DEFAULT_STACK)
