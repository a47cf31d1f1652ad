"""Speed and memory beside a peer: `make bench`, or `python -m tests.bench [--quick] [--rounds N]`.

The peer is Huey, a task queue that can keep its queue and results in SQLite as Millpond does; both write with
synchronous=FULL in WAL mode, on the same disk, and no server stands between. Each side runs in a process of its own, in
turn (A B A B), and checks its end state. What the comparison is and is not:

accept    Both end with N tasks that a crash cannot lose. Millpond's tasks have a state, counters, retry budgets and
          dependencies; Huey's are a pickled call. Millpond takes a whole job in one call, Huey a task a call, so its
          rows in one commit (below its interface) stand beside it too.
hand out and commit
          Huey's worker deletes a task from the queue, runs it in its own process and stores the result: at most once,
          and a killed worker loses what it ran. Millpond writes an outbox, sends a message, learns of the start,
          reads a manifest and commits it: attempts, leases, retries, a fenced leader, files, and the first good run
          wins. Apples and oranges: one is a function call behind a queue, the other a protocol with other machines
          (whose queues and blobs are in memory here; with real ones, network time comes on top of both).
overhead  Millpond's tasks end as committed rows and hashed blobs by way of Azurite's queues; HyperQueue's (a scheduler
          for clusters, written in Rust) as files and the memory of its server. Both start a process a task.
decide    Millpond's decision names nodes and reasons; the formula gives a number. It stands there for scale.
simulate  The same jobs on the same fixed pool: SimPy's processes give waits alone, ours also costs, history and a
          policy that may act. The elastic side has no counterpart; it shows a policy that is asked every 5 s.
formula   No other evaluator of Azure Batch formulas is known, so there is no peer.
local Azure
          What the stand-in for Azure costs: there is no peer that answers as a resource manager does. Memory is the
          peak of its daemon, or of an account's storage server; one run of pulumi is engine, program and stand-in.

regret    What a compiled formula comes to beside its policy, in node-hours and waits: simulated, so the same each time.
polling   What idling costs and how long a task waits for it: no peer, but bounds of our own.

Prints a table and writes the same as JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.machine import Machine, sync_us, this_machine
from tests.bench.measure import ROOT, Figure, measure
from tests.bench.plan import benches
from tests.bench.polling import FULL, QUICK, Polling, measure_polling, percentile_95
from tests.bench.regrets import JOBS, Found, measure_regrets, regrets_table

_WIDTH = 118
_HUNDRED = 100


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measure everything, print it, and give the file that it was written to."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: shows only that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="most rounds of a bench (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench", help="folder of the JSON, and scratch")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=_WIDTH)
    began, started = datetime.now(UTC), time.monotonic()
    # Scratch lies beside the results: the system's temporary folder may be memory, where fsync costs nothing.
    with tempfile.TemporaryDirectory(dir=options.out) as scratch:
        machine = this_machine(Path(scratch))
        console.print(str(machine), highlight=False)
        figures: list[Figure] = []
        for bench in benches(quick=options.quick):
            found = list(measure(bench, rounds, Path(scratch)))
            console.print(_table(found))
            figures += found
        regrets = list(measure_regrets(100 if options.quick else JOBS))
        console.print(regrets_table(regrets))
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            polling = measure_polling(Path(folder), QUICK if options.quick else FULL)
        console.print(_polling_table(polling))
        # Another program's writes make every fsync here longer, so that figures of a busy disk can be told.
        syncs = (machine.sync_us, sync_us(Path(scratch)))
    path = _write(options.out, began, machine, syncs, figures, regrets, polling)
    console.print(f"write with fsync: {syncs[0]:.0f} us before, {syncs[1]:.0f} us after", highlight=False)
    console.print(f"{time.monotonic() - started:.0f} s; written to {path}", highlight=False, soft_wrap=True)
    return path


def _table(figures: Sequence[Figure]) -> Table:
    first = figures[0]
    title = f"{first.bench} (median of {first.rounds}, least to most)"
    table = Table("side", title=title, title_justify="left", title_style="bold")
    unit = first.unit
    for heading in ("N", "total s", f"us a {unit}", "least - most", f"{unit}s/s", "peak MiB", "before"):
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(
            figure.side,
            f"{figure.size:,}",
            f"{figure.median_seconds:.3f}",
            _short(figure.median_us),
            f"{_short(figure.least_us)} - {_short(figure.most_us)}",
            f"{1e6 / figure.median_us:,.0f}",
            f"{figure.peak_mib:.0f}",
            f"{figure.prepared_mib:.0f}",
        )
    return table


def _polling_table(polling: Polling) -> Table:
    title = "polling: one node that idles, and the scheduler"
    table = Table("what", "seen", "at most", title=title, title_justify="left", title_style="bold")
    for name, waits, most in (
        ("idle for less than a minute", polling.quick_waits, 1),
        ("idle for longer", polling.slow_waits, 6),
    ):
        seen = f"{percentile_95(waits):.2f} s of {len(waits)}"
        table.add_row(f"submit to start, p95, on a node {name}", seen, f"{most} s")
    for who, most in (("node", 1500), ("scheduler", 2000)):
        dollars = f"about {polling.usd_a_month[who]:.2f} dollars a month"
        table.add_row(
            f"requests an hour of an idle {who}", f"{polling.requests_an_hour[who]:,.0f}; {dollars}", f"{most:,}"
        )
    return table


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= _HUNDRED else f"{value:.3g}"


def _write(
    folder: Path,
    began: datetime,
    machine: Machine,
    syncs: tuple[float, float],
    figures: Sequence[Figure],
    regrets: Sequence[Found],
    polling: Polling,
) -> Path:
    path = folder / f"bench-{began:%Y%m%dT%H%M%SZ}.json"
    record = {
        "at": began.isoformat(),
        "machine": asdict(machine),
        "sync_us": syncs,
        "figures": [asdict(each) for each in figures],
        "regrets": [asdict(each) for each in regrets],
        "polling": asdict(polling),
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
