"""`millpond local fault`: harm the local Azure on purpose, to see what a program does about it."""

import json
import re
import time
from typing import Annotated, Any

import typer

from infra.local import control_client, supervisor
from infra.local.faults import FaultKind
from infra.local.messages import plain_errors
from scheduler.cli.place import default_home

HELP = """Harm the local Azure on purpose.

A fault stands until it has struck --times N, until --for a while is over, or until `clear`; without either it stands
until it is cleared, also over `down` and `up`. With --share 0.2 one chance in five strikes. --target picks the victims
by a glob without regard to case, such as 'vmss-render-*' or '*/storageAccounts/*'.
"""
app = typer.Typer(name="fault", help=HELP, no_args_is_help=True)

_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_UNITS = (3600.0, 60.0, 1.0)


def seconds_of(text: str) -> float:
    """Read a span of time: 90, 90s, 2m, 1h30m."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise typer.BadParameter(f"'{text}' is no span of time; write for example 90s, 2m or 1h30m")
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)


Times = Annotated[int | None, typer.Option("--times", min=1, help="Strike so often, then end.", show_default=False)]
Share = Annotated[
    float | None, typer.Option("--share", max=1.0, help="Part of the chances that strikes: 0.2.", show_default=False)
]
While = Annotated[
    float | None,
    typer.Option("--for", parser=seconds_of, metavar="SPAN", help="End after 90s, 2m, 1h30m.", show_default=False),
]
Span = Annotated[float, typer.Option("--seconds", parser=seconds_of, metavar="SPAN", help="How long a strike lasts.")]
Nodes = Annotated[str, typer.Option("--target", help="Glob of node ids, <set>_<number>.")]
Sets = Annotated[str, typer.Option("--target", help="Glob of scale sets and Batch pools.")]
Requests = Annotated[str, typer.Option("--target", help="Glob of ARM paths, or of storage accounts.")]
Accounts = Annotated[str, typer.Option("--target", help="Glob of storage accounts.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("slow-boot")
def slow_boot(  # each option is a value of the fault
    target: Nodes = "*",
    times: Times = None,
    share: Share = None,
    while_: While = None,
    seconds: Span = "30",  # type: ignore[assignment] # read by the option's parser
    as_json: AsJson = False,
) -> None:
    """Boot instances later: by --seconds, on top of the boot delay."""
    _add(FaultKind.SLOW_BOOT, target, times, share, while_, as_json, seconds)


@app.command("boot-failure")
def boot_failure(
    target: Nodes = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Let instances fail at boot: their extension ends with VMExtensionProvisioningError."""
    _add(FaultKind.BOOT_FAILURE, target, times, share, while_, as_json)


@app.command("allocation-failure")
def allocation_failure(
    target: Sets = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Have no capacity: raising a set or pool fails with AllocationFailed after it was accepted."""
    _add(FaultKind.ALLOCATION_FAILURE, target, times, share, while_, as_json)


@app.command("quota")
def quota(
    target: Sets = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Have no quota left: raising a set or pool is refused with QuotaExceeded."""
    _add(FaultKind.QUOTA, target, times, share, while_, as_json)


@app.command("stuck-resize")
def stuck_resize(
    target: Sets = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Let a resize go on for ever: instances stay Creating until the fault is cleared or its time is over."""
    _add(FaultKind.STUCK_RESIZE, target, times, share, while_, as_json)


@app.command("throttling")
def throttling(
    target: Requests = "*",
    times: Times = None,
    share: Share = None,
    while_: While = None,
    seconds: Span = "5",  # type: ignore[assignment] # read by the option's parser
    as_json: AsJson = False,
) -> None:
    """Throttle requests: 429 with Retry-After of --seconds from ARM, 503 ServerBusy from storage."""
    _add(FaultKind.THROTTLING, target, times, share, while_, as_json, seconds)


@app.command("server-error")
def server_error(
    target: Requests = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Answer requests with 500, before anything is done."""
    _add(FaultKind.SERVER_ERROR, target, times, share, while_, as_json)


@app.command("storage-outage")
def storage_outage(
    target: Accounts = "*", times: Times = None, share: Share = None, while_: While = None, as_json: AsJson = False
) -> None:
    """Let storage be unreachable: connections are closed without an answer."""
    _add(FaultKind.STORAGE_OUTAGE, target, times, share, while_, as_json)


@app.command()
def preempt(
    node_id: Annotated[str, typer.Argument(help="The machine, as `millpond pool nodes` names it.")],
    notice: Annotated[
        float, typer.Option(parser=seconds_of, metavar="SPAN", help="Between the scheduled event and the end.")
    ] = "30s",  # type: ignore[assignment] # read by the option's parser
) -> None:
    """Take a Spot machine away: a Preempt event in its metadata first, and its end after the notice."""
    with plain_errors():
        control_client.preempt(default_home(), node_id, notice)
        typer.echo(f"{node_id} has notice and ends in {notice:g} s")


@app.command()
def kill(node_id: Annotated[str, typer.Argument(help="The machine, as `millpond pool nodes` names it.")]) -> None:
    """Kill every process of a machine at once; Azure goes on listing it as running."""
    with plain_errors():
        count = supervisor.kill_instance(default_home(), node_id)
        typer.echo(f"Killed {count} processes of {node_id}")


@app.command("list")
def show(as_json: AsJson = False) -> None:
    """List the standing faults, oldest first."""
    with plain_errors():
        faults = control_client.list_faults(default_home())
        if as_json:
            typer.echo(json.dumps(faults, indent=2))
        elif not faults:
            typer.echo("No fault stands.")
        for fault in [] if as_json else faults:
            typer.echo(describe(fault))


@app.command()
def clear(
    fault_id: Annotated[str | None, typer.Argument(help="As `list` shows it; without it, all.", metavar="[ID]")] = None,
) -> None:
    """End one fault, or all of them."""
    with plain_errors():
        ended = control_client.clear_faults(default_home(), fault_id)
        typer.echo(f"Cleared {', '.join(fault['id'] for fault in ended)}" if ended else "No fault stood.")


def describe(fault: dict[str, Any]) -> str:
    """Say in one line what a fault does, to whom, and how long."""
    parts = [f"{fault['id']}  {fault['kind']} of {fault['target']}"]
    if fault["share"] is not None:
        parts.append(f"one chance in {1 / fault['share']:.3g}")
    if fault["seconds"]:
        parts.append(f"{fault['seconds']:g} s a strike")
    if fault["remaining"] is not None:
        parts.append(f"{fault['remaining']} more times")
    if fault["until"] is not None:
        parts.append(f"{max(fault['until'] - time.time(), 0):.0f} s more")
    if fault["remaining"] is None and fault["until"] is None:
        parts.append("until it is cleared")
    return ", ".join(parts)


def _add(
    kind: FaultKind,
    target: str,
    times: int | None,
    share: float | None,
    for_seconds: float | None,
    as_json: bool,
    seconds: float | None = None,
) -> None:
    wanted = {"kind": kind, "target": target, "times": times, "share": share, "for_seconds": for_seconds}
    with plain_errors():
        fault = control_client.add_fault(default_home(), wanted | {"seconds": seconds})
        typer.echo(json.dumps(fault, indent=2) if as_json else describe(fault))
