"""What `simulate` and `tune` share: options that describe a workload's world, and how many replays run how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.group import AsJson
from scheduler.cli.reports import history_note
from scheduler.errors import InvalidRequestError
from scheduler.simulator.quantities import seconds_of
from scheduler.simulator.readers.reading import Reading
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.readers.world_file import distribution_of, price_of, read_world
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Dispatch, Distribution, Exponential, Fixed, Group, Measured, Pool, World

_DEFAULT_BOOT = 240.0
_DEFAULT_SIZE = "Standard_D2s_v5"
_SHOWN_PROBLEMS = 5
_JOB_SLOTS = ("one", "recorded", "spread")


@dataclass(frozen=True)
class ReplayOptions:
    """The options. Those of the nodes describe one pool with one group; `world` stands for all of them."""

    world: Annotated[
        Path | None,
        typer.Option(
            "--world",
            metavar="FILE.toml",
            help="Pools with their groups of nodes, quotas and lag, in place of the options about nodes below.",
        ),
    ] = None
    boot: Annotated[
        str | None,
        typer.Option(
            "--boot",
            help="Time from asking for a node until it takes work, paid for: 240s, or lognormal:240s:0.3, or"
            " exponential:240s, or those measured, 200s,210s,260s. Default: the history's own, else 240s.",
        ),
    ] = None
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Task slots of a node. Default: 1.")] = None
    max_nodes: Annotated[int | None, typer.Option("--max-nodes", min=1, help="Most nodes; without it, any number.")] = (
        None
    )
    initial: Annotated[
        int | None, typer.Option("--initial", min=0, max=100_000, help="Nodes that are up at the start. Default: none.")
    ] = None
    vm_size: Annotated[
        str | None, typer.Option("--vm-size", help=f"For the price, by the catalogue. Default: {_DEFAULT_SIZE}.")
    ] = None
    spot: Annotated[bool, typer.Option("--spot", help="Price of Spot machines.")] = False
    lifetime: Annotated[
        str | None,
        typer.Option(
            "--lifetime", help="Mean time until the cloud takes a node back (exponential), as Spot's evictions."
        ),
    ] = None
    boot_failure: Annotated[
        float | None, typer.Option("--boot-failure", min=0, max=1, help="Part of boots that fail.")
    ] = None
    dispatch: Annotated[
        Dispatch | None,
        typer.Option("--dispatch", help="Order in which jobs start; easy needs --job-slots spread. Default: fifo."),
    ] = None
    lag: Annotated[
        str | None, typer.Option("--lag", help="How old what a policy sees is when it acts. Default: 0s.")
    ] = None
    job_slots: Annotated[
        str,
        typer.Option(
            "--job-slots",
            help="one: each job takes one slot, whatever the log says; recorded: as recorded, on one node; spread: as"
            " recorded, over nodes of one slot each.",
        ),
    ] = "one"
    known_runs: Annotated[
        bool, typer.Option("--known-runs", help="Tell policies the run times (or estimates) of waiting jobs.")
    ] = False
    settings: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated.")] = (
        field(default_factory=list)
    )
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn; the same gives the same.")] = 0
    processes: Annotated[int, typer.Option("--processes", min=0, help="Replays beside each other; 0: one a core.")] = 0
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw to FILE.png or FILE.html: one run over time, many by cost and wait."),
    ] = None
    as_json: AsJson = False

    def read(self, path: Path) -> tuple[Workload, World]:
        """Read a workload and make its world, and tell on stderr what could not be used."""
        if self.job_slots not in _JOB_SLOTS:
            raise InvalidRequestError(f"--job-slots {self.job_slots}: it is one, recorded or spread")
        reading = read_trace(path)
        for line in history_note(reading, _SHOWN_PROBLEMS):
            typer.echo(f"{path.name}: {line}", err=True)
        workload = reading.workload.single_slots() if self.job_slots == "one" else reading.workload
        return workload, self._world(reading)

    def _world(self, reading: Reading) -> World:
        spread = self.job_slots == "spread"
        if self.world is not None:
            both = [name for name, given in self._of_nodes().items() if given not in {None, False}]
            if both:
                raise InvalidRequestError(
                    f"--world says all about nodes; write {', '.join(both)} there, or leave it out"
                )
            return read_world(self.world, spread=spread, boots=reading.boots, known_runs=self.known_runs)
        measured = Measured(reading.boots) if reading.boots else Fixed(_DEFAULT_BOOT)
        vm_size = self.vm_size or _DEFAULT_SIZE
        nodes = Group(
            slots=self.slots or 1,
            max_nodes=self.max_nodes,
            boot=measured if self.boot is None else distribution_of(self.boot),
            boot_failure=self.boot_failure or 0.0,
            lifetime=None if self.lifetime is None else _lifetime(self.lifetime),
            initial=self.initial or 0,
            usd_per_hour=price_of(vm_size, spot=self.spot),
            vm_size=vm_size,
            spot=self.spot,
        )
        pool = Pool(groups=(nodes,), dispatch=self.dispatch or Dispatch.FIFO, spread=spread)
        return World((pool,), lag=seconds_of(self.lag or "0"), known_runs=self.known_runs)

    def _of_nodes(self) -> dict[str, object]:
        return {
            "--boot": self.boot,
            "--slots": self.slots,
            "--max-nodes": self.max_nodes,
            "--initial": self.initial,
            "--vm-size": self.vm_size,
            "--spot": self.spot,
            "--lifetime": self.lifetime,
            "--boot-failure": self.boot_failure,
            "--dispatch": self.dispatch,
            "--lag": self.lag,
        }


def _lifetime(text: str) -> Distribution:
    seconds = seconds_of(text)
    if seconds < 1:
        raise InvalidRequestError(f"--lifetime {text}: a node stays for at least a second")
    return Exponential(seconds)
