"""Deploys a stack by Pulumi's Automation API: the same program and engine as plain `pulumi up`, none needed on PATH."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pulumi.automation as auto
from rich.console import Console

from infra.config import parse
from infra.local.toolchain import ToolchainError, pulumi_command
from infra.program import program
from infra.progress import Progress
from infra.running_work import DeployedGroup, deployed_groups, effects
from infra.stacks import PROJECT_ROOT, deployment_file, environment_of, settings_of
from scheduler.cli.connection import scheduler_of
from scheduler.errors import MillpondError
from scheduler.model import NodePhase

PROJECT = "millpond"

# A deployment does not wait long to say how many nodes it concerns.
_ASK_SECONDS = 3.0

# Retained by an earlier deployment, something of a fixed name comes back: see `_hint`.
_ALREADY_THERE = ("cannot create already existing resource", "already exists", "exists already")

_Result = TypeVar("_Result")


class DeployError(Exception):
    """A deployment failed; the message says why, in the engine's or the cloud's words."""


def check(stack: str) -> None:
    """Raise `ConfigError` or `InvalidRequestError` if the stack's settings are wrong, before anything is started."""
    parse(settings_of(stack))


def up(stack: str, console: Console) -> Mapping[str, Any]:
    """Deploy a stack and give its outputs, which are also written for the scheduler."""
    check(stack)
    selected = _select(stack, auto.create_or_select_stack)
    before = _deployed(selected)
    progress = Progress(console, f"deploying {stack}", retained=_retained(selected))
    result = _run(progress, lambda: selected.up(on_event=progress.on_event, color="never", suppress_outputs=True))
    _tell_effects(progress, before, stack)
    outputs = {name: output.value for name, output in result.outputs.items()}
    _write_deployment(stack, outputs)
    return outputs


def preview(stack: str, console: Console) -> None:
    """Show what `up` would change."""
    check(stack)
    selected = _select(stack, auto.create_or_select_stack)
    before = _deployed(selected)
    progress = Progress(console, f"previewing {stack}", planning=True, retained=_retained(selected))
    _run(progress, lambda: selected.preview(on_event=progress.on_event, color="never", suppress_outputs=True))
    _tell_effects(progress, before, stack)


def destroy(stack: str, console: Console) -> None:
    """Remove the stack's resource group, and with it all that is in it, retained node groups and data too."""
    selected = _select(stack, auto.select_stack)
    progress = Progress(console, f"destroying {stack}")
    _run(progress, lambda: selected.destroy(on_event=progress.on_event, color="never", suppress_outputs=True))
    deployment_file(stack).unlink(missing_ok=True)


def _select(stack: str, how: Callable[..., auto.Stack]) -> auto.Stack:
    """Open the stack in the engine, with the environment that its settings ask for."""
    # The program runs in this process and reads the same variables as the engine.
    os.environ.update(environment_of(stack))
    backend = os.environ.get("PULUMI_BACKEND_URL", "")
    if backend.startswith("file://"):
        os.makedirs(backend.removeprefix("file://"), exist_ok=True)  # noqa: PTH103 - a URL's path, not ours
    options = auto.LocalWorkspaceOptions(work_dir=str(PROJECT_ROOT), pulumi_command=_engine())
    try:
        return how(stack_name=stack, project_name=PROJECT, program=program, opts=options)
    except auto.StackNotFoundError:
        raise DeployError(f"the stack {stack!r} is not deployed: there is nothing to do") from None
    except auto.CommandError as error:
        raise DeployError(f"the engine cannot open the stack {stack!r}: {_last_words(str(error))}") from error


def _engine() -> auto.PulumiCommand:
    """Give the engine that the toolchain found or got."""
    try:
        path = pulumi_command()
    except ToolchainError as error:
        raise DeployError(str(error)) from error
    # The SDK takes the folder above `bin`; an engine that lies otherwise was found on PATH.
    return auto.PulumiCommand(root=str(path.parent.parent)) if path.parent.name == "bin" else auto.PulumiCommand()


def _run(progress: Progress, operation: Callable[[], _Result]) -> _Result:
    """Run an engine operation, telling what it does; `DeployError` has what went wrong and nothing else."""
    started = time.monotonic()
    progress.console.print(f"{progress.title} ...", markup=False, highlight=False)
    try:
        with progress.live():
            result = operation()
    except KeyboardInterrupt:
        raise DeployError(
            f"{progress.title} was interrupted; what was done stays and is kept in the engine's record. To go on, run "
            "the same command again"
        ) from None
    except auto.ConcurrentUpdateError as error:
        raise DeployError(
            "another deployment of this stack runs; wait for it. If it was killed: `pulumi cancel` after"
            ' eval "$(millpond local env)"'
        ) from error
    except auto.CommandError as error:
        problems = progress.problems or [_last_words(str(error))]
        raise DeployError(_hint("\n".join(problems))) from error
    progress.console.print(
        f"{progress.title}: {progress.summary()}, {time.monotonic() - started:.1f} s", markup=False, highlight=False
    )
    return result


def _deployed(stack: auto.Stack) -> tuple[DeployedGroup, ...]:
    """Give the generations that the stack named before."""
    return deployed_groups({name: output.value for name, output in stack.outputs().items()})


def _tell_effects(progress: Progress, before: tuple[DeployedGroup, ...], stack: str) -> None:
    """Say what the change does to work that runs, where a generation goes."""
    if not progress.generations.taken_out:
        return
    for line in effects(progress.generations, before, nodes_by_set(stack)):
        progress.console.print(f"  running work: {line}", markup=False, highlight=False)


def nodes_by_set(stack: str) -> Mapping[str, int] | None:
    """Count the nodes of each scale set or Batch pool as the scheduler knows them; None when it does not answer."""
    try:
        with scheduler_of(stack, _ASK_SECONDS) as service:
            pools = service.list_pools()
            groups = {group.key: group.scale_set for pool in pools for group in pool.groups}
            nodes = [node for pool in pools for node in service.list_nodes(pool.name)]
    except MillpondError:
        return None
    return Counter(groups[node.group] for node in nodes if node.phase is not NodePhase.GONE and node.group in groups)


def _retained(stack: auto.Stack) -> frozenset[str]:
    """Give the URNs that the engine will only forget when the program no longer declares them."""
    deployment = stack.export_stack().deployment or {}
    return frozenset(item["urn"] for item in deployment.get("resources", []) if item.get("retainOnDelete"))


def _hint(problem: str) -> str:
    """Add what to do where the cloud's own words leave one helpless."""
    if any(words in problem for words in _ALREADY_THERE):
        return (
            f"{problem}\nAn earlier deployment of this stack left it there, as it may hold data: a storage account,"
            " or the scheduler's disk. To go on with it, `pulumi import` it under the name and id above; to begin anew,"
            " delete it in Azure first."
        )
    return problem


def _last_words(output: str) -> str:
    """Take the error lines out of an engine's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("stderr: ") for line in lines if "error:" in line.lower()]
    return "\n".join(errors or lines[-5:])


def _write_deployment(stack: str, outputs: Mapping[str, Any]) -> None:
    """Write the outputs for `millpond scheduler run`, whole or not at all; there is no secret among them."""
    path = deployment_file(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(outputs, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
