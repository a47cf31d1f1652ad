"""`millpond formula`: Azure Batch autoscale formulas without Azure."""

import dataclasses
import random
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.formula_files import (
    STDIN,
    read_dialect,
    read_duration,
    read_policy,
    read_samples,
    read_text,
    read_time,
)
from scheduler.cli.group import FAILED, AsJson, examples, group
from scheduler.cli.reports import history_note, regret_table
from scheduler.cli.tables import console, print_json
from scheduler.formula.check import read
from scheduler.formula.compile_report import Element
from scheduler.formula.compiler import CompileSettings, compile_policy
from scheduler.formula.evaluate import evaluate
from scheduler.formula.lint import Finding, lint
from scheduler.formula.lint_rule import LintSettings, Severity
from scheduler.formula.outcome import AutoScaleRun
from scheduler.formula.problems import FormulaError, Problem, excerpt
from scheduler.formula.samples import Pool
from scheduler.formula.syntax import Formula
from scheduler.policy import ScalingPolicy
from scheduler.simulator.quantities import seconds_of, span_text
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.regret import Regret, regret_by_approximation
from scheduler.simulator.world import Fixed, Group, Measured

_DEFAULT_BOOT = 240.0
_SHOWN_PROBLEMS = 5
_EXIT_CODES = "Exit codes: 0 good, 1 something is wrong with the formula, 2 wrong use or an unreadable file."
formula = group(
    "formula",
    "Check, run, lint and compile Azure Batch autoscale formulas, without Azure (docs/formulas.md).",
    _EXIT_CODES,
)

File = Annotated[str, typer.Argument(metavar="[FILE]", help="The formula's file; without it or -, standard input.")]
DialectChanges = Annotated[
    list[str] | None,
    typer.Option(
        "--dialect", metavar="NAME=VALUE", help="Settle an open point of the language otherwise, e.g. sunday=0; repeat."
    ),
]
Slots = Annotated[int | None, typer.Option("--slots", min=1, help="Task slots of a node (taskSlotsPerNode).")]


@formula.command(
    epilog=examples(
        "millpond formula check pool.txt",
        "echo 'a = 7 % 3;' | millpond formula check",
        "millpond formula check pool.txt --dialect exponents=true --json",
    )
)
def check(file: File = STDIN, dialect: DialectChanges = None, as_json: AsJson = False) -> None:
    """Say whether Azure would take a formula: every error with its line, a caret, and what to write instead."""
    text = read_text(file)
    tree = _read(text, dialect, as_json=as_json)
    if as_json:
        print_json({"problems": [], "statements": len(tree.statements)})
    else:
        typer.echo(f"good: {len(tree.statements)} of at most 100 statements, {len(text.encode())} of 8192 bytes")


@formula.command(
    name="lint",
    epilog=examples(
        "millpond formula lint pool.txt --slots 4",
        "millpond formula compile scaling.yaml | millpond formula lint",
    ),
)
def lint_formula(
    file: File = STDIN, slots: Slots = None, dialect: DialectChanges = None, as_json: AsJson = False
) -> None:
    """Find known mistakes: formulas that Azure takes, and that do not do what was meant.

    Ends with 1 where there is an error or a warning; what is marked info is good to know.
    """
    text = read_text(file)
    findings = lint(_read(text, dialect, as_json=as_json), LintSettings(slots))
    if as_json:
        print_json({"findings": findings})
    else:
        for finding in findings:
            typer.echo(_finding(text, finding))
        errors, warnings, infos = (sum(each.severity is one for each in findings) for one in Severity)
        typer.echo(f"errors: {errors}, warnings: {warnings}, good to know: {infos}")
    if any(finding.severity is not Severity.INFO for finding in findings):
        raise typer.Exit(FAILED)


@formula.command(
    name="eval",
    epilog=examples(
        "millpond formula eval pool.txt                                 a new pool, without samples",
        "millpond formula eval pool.txt --samples yesterday.csv --dedicated 4 --slots 2 --lag 2",
    ),
)
def evaluate_formula(  # noqa: PLR0917  options of a command
    file: File = STDIN,
    samples: Annotated[
        str | None,
        typer.Option(
            "--samples",
            metavar="FILE",
            help="CSV (at,$ActiveTasks,...) or JSON ({metric: [[at, value], ...]}); without times a sample each 30 s, "
            "the last one now. Without it: a new pool, which has none.",
        ),
    ] = None,
    now: Annotated[
        str | None, typer.Option("--now", metavar="TIME", help="When it is evaluated; default: the newest sample.")
    ] = None,
    lag: Annotated[int | None, typer.Option("--lag", min=0, help="Newest samples not yet to be seen.")] = None,
    dedicated: Annotated[int, typer.Option("--dedicated", min=0, help="Dedicated nodes the pool has.")] = 0,
    low_priority: Annotated[int, typer.Option("--low-priority", min=0, help="Spot nodes the pool has.")] = 0,
    target_dedicated: Annotated[
        int | None, typer.Option("--target-dedicated", min=0, help="Its target; default: what it has.")
    ] = None,
    target_low_priority: Annotated[
        int | None, typer.Option("--target-low-priority", min=0, help="Its Spot target; default: what it has.")
    ] = None,
    slots: Slots = None,
    seed: Annotated[int, typer.Option("--seed", help="For rand(); the same seed gives the same values.")] = 0,
    dialect: DialectChanges = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a formula as Azure would, and print the result string or the error in the service's form."""
    changes = [*(dialect or []), *([] if lag is None else [f"lag={lag}"])]
    settings = read_dialect(changes)
    text = read_text(file)
    tree = _read(text, changes, as_json=as_json)
    found, moment = read_samples(samples, None if now is None else read_time(now))
    pool = Pool(
        dedicated,
        low_priority,
        dedicated if target_dedicated is None else target_dedicated,
        low_priority if target_low_priority is None else target_low_priority,
        slots or 1,
        found,
    )
    # Values of a formula are no secrets.
    run = evaluate(tree, pool, moment, random.Random(seed).random, settings)  # noqa: S311
    if as_json:
        print_json(_run_record(run))
    else:
        _tell_run(text, run)
    if run.error is not None:
        raise typer.Exit(FAILED)


@formula.command(
    name="compile",
    epilog=examples(
        "millpond formula compile scaling.yaml --set max_nodes=40 --slots 4 > pool.txt",
        "millpond formula compile scaling.yaml --regret render.jsonl --boot 4min > pool.txt",
    ),
)
def compile_formula(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="YAML with a pool's scaling settings, or with them under `scaling:`; - is standard input.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting, e.g. acceptable_wait=10m or max_nodes=40; repeat."
        ),
    ] = None,
    slots: Slots = None,
    spot: Annotated[bool, typer.Option("--spot", help="Size Spot nodes, not dedicated ones.")] = False,
    interval: Annotated[str, typer.Option("--interval", help="How often Azure evaluates it: 5m to 168h.")] = "5m",
    trace: Annotated[
        Path | None,
        typer.Option(
            "--regret",
            metavar="HISTORY",
            help="Replay a workload (`millpond history`, SWF, CSV, WfFormat) through policy and formula, and tell what "
            "the formula costs and lets work wait above the policy.",
        ),
    ] = None,
    boot: Annotated[
        str | None, typer.Option("--boot", help="How long nodes boot there; default: the history's own, else 240s.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the formula that sizes an Azure Batch pool like a scaling policy.

    The formula goes to standard output; what it keeps, approximates and cannot hold goes to standard error, and so does
    what it costs.
    """
    settings = CompileSettings(slots, spot, read_duration(interval, "--interval"))
    policy = read_policy(file, changes or [])
    compiled = compile_policy(policy, settings)
    found = None if trace is None else _regret(trace, boot, policy, settings)
    if as_json:
        print_json(compiled if found is None else {**dataclasses.asdict(compiled), "regret": found})
        return
    typer.echo(compiled.text, nl=False)
    for element in compiled.elements:
        typer.echo(_element(element), err=True)
    for each in compiled.checks:
        typer.echo(f"evaluated with {each.name}: {each.results}", err=True)
    if found is not None:
        workload = (
            f"{found.policy.workload}: {found.policy.jobs:,} tasks in {span_text(found.policy.span_hours * 3600)}"
        )
        typer.echo(f"replayed {workload}", err=True)
        console(stderr=True).print(regret_table(found))


def _regret(trace: Path, boot: str | None, policy: ScalingPolicy, settings: CompileSettings) -> Regret:
    reading = read_trace(trace)
    for line in history_note(reading, _SHOWN_PROBLEMS):
        typer.echo(f"{trace.name}: {line}", err=True)
    measured = Measured(reading.boots) if reading.boots else Fixed(_DEFAULT_BOOT)
    group = Group(
        slots=settings.slots or 1,
        max_nodes=policy.max_nodes,
        boot=measured if boot is None else Fixed(seconds_of(boot)),
        spot=settings.spot,
    )
    return regret_by_approximation(reading.workload.single_slots(), group, policy, settings)


def _read(text: str, dialect: list[str] | None, *, as_json: bool) -> Formula:
    """Read a formula; where it is refused, tell all of it and end."""
    try:
        return read(text, read_dialect(dialect or []))
    except FormulaError as error:
        if as_json:
            print_json({"problems": [_problem_record(problem) for problem in error.problems]})
        else:
            for problem in error.problems:
                typer.echo(f"{problem.code.value}\n{problem}\n{excerpt(text, problem.span)}", err=True)
        raise typer.Exit(FAILED) from error


def _problem_record(problem: Problem) -> dict[str, object]:
    return {"code": problem.code.value, "message": problem.message, "span": problem.span}


def _finding(text: str, finding: Finding) -> str:
    head = f"{finding.span}: {finding.severity.value}: {finding.message} [{finding.code}]"
    return f"{head}\n{excerpt(text, finding.span)}\n"


def _run_record(run: AutoScaleRun) -> dict[str, object]:
    """Give a run with the service's own names."""
    error = (
        None
        if run.error is None
        else {
            "code": run.error.code.value,
            "message": run.error.message,
            "values": [{"name": name, "value": value} for name, value in run.error.values],
        }
    )
    return {
        "timestamp": run.at,
        "results": run.results,
        "error": error,
        "targetDedicatedNodes": run.target_dedicated,
        "targetLowPriorityNodes": run.target_low_priority,
        "nodeDeallocationOption": run.deallocation,
    }


def _tell_run(text: str, run: AutoScaleRun) -> None:
    typer.echo(run.results.replace(";", "\n"))
    if run.error is not None:
        problem = run.error.problem
        typer.echo(f"{run.error.code.value}: {run.error.message}\n{problem}\n{excerpt(text, problem.span)}", err=True)


def _element(element: Element) -> str:
    lines = [f"{element.standing.value + ':':15}{element.name}: {element.how}"]
    lines += [f"{'':15}{what}: {told}" for what, told in (("lost", element.loss), ("do", element.advice)) if told]
    return "\n".join(lines)
