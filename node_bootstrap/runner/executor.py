"""Runs one task from its message to its report: definition, inputs, folder, process, what is left of it."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from node_bootstrap.protocol import (
    INPUTS,
    Outcome,
    ParameterRows,
    ProtocolError,
    ResolvedInputs,
    TaskDefinition,
    TaskMessage,
    TaskRef,
    TaskReport,
    decode,
    definition_blob,
    file_blob,
    resolved_blob,
    sha256_hex,
)
from node_bootstrap.runner.account import account_named
from node_bootstrap.runner.disk import ReadDisk, blamed_on_disk, is_full, read_disk
from node_bootstrap.runner.environment import NodePlace, common_environment, task_environment, task_names
from node_bootstrap.runner.events import TaskEnded
from node_bootstrap.runner.follow import LogFollower
from node_bootstrap.runner.log_limit import LimitedLog
from node_bootstrap.runner.packages import PackageCache
from node_bootstrap.runner.packs import Uploader
from node_bootstrap.runner.parameters import from_axes, from_table, part_of, with_parameters
from node_bootstrap.runner.process_tree import Orphans, end_marked
from node_bootstrap.runner.settings import RunnerSettings
from node_bootstrap.runner.staging import Stager, StagingError
from node_bootstrap.runner.storage import Storage, StorageError
from node_bootstrap.runner.task_files import KeptFiles, TaskFolder, TaskFolders, kept_files
from node_bootstrap.runner.task_process import Command, Ending, TaskProcess

_Kind = TypeVar("_Kind", TaskDefinition, ResolvedInputs, ParameterRows)

_LOG = logging.getLogger(__name__)

# Definitions and resolved inputs that are remembered; a message names one of each.
_MOST_RECORDS = 64
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Begun:
    """A process that has been started, or is about to."""

    task: TaskRef
    process: TaskProcess


class Executor:
    """Runs tasks, each call of `run` in a thread of its own."""

    def __init__(
        self,
        settings: RunnerSettings,
        storage: Storage,
        uploader: Uploader,
        clock: Callable[[], datetime],
        disk: ReadDisk = read_disk,
    ) -> None:
        self._disk = disk
        self._settings = settings
        self._storage = storage
        self._uploader = uploader
        self._clock = clock
        self._tasks = settings.root / "tasks"
        self._folders = TaskFolders(self._tasks)
        self._place = NodePlace(settings.pool, settings.node_id, settings.root, settings.root / "shared")
        self._stager = Stager(storage, settings.root / "cache", disk)
        self._packages = PackageCache(self._stager, settings.root / "applications", disk=disk)
        name = settings.task_account
        self._account = account_named(name, settings.task_launcher) if name is not None else None
        self._orphans = Orphans()
        self._common = common_environment(os.environ, Path(sys.executable))
        self._lock = threading.Lock()
        self._begun: dict[str, _Begun] = {}
        self._records: dict[str, object] = {}

    def clear(self) -> None:
        """End and remove what a runner before this one left; call it once, before anything runs."""
        end_marked(f"{self._tasks}{os.sep}")
        TaskFolder(self._tasks).remove()
        self._tasks.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._place.shared.mkdir(exist_ok=True)
        self._place.shared.chmod(0o1777)  # as a temporary folder: for all, and nobody removes what is another's

    def begin(self, run_id: str, task: TaskRef) -> TaskProcess:
        """Announce a run, so that it can be stopped from now on; hand the answer to `run`."""
        begun = _Begun(task, TaskProcess(self._orphans))
        with self._lock:
            self._begun[run_id] = begun
        return begun.process

    def stop(self, run_id: str, task: TaskRef, outcome: Outcome, reason: str) -> None:
        """Kill a run's process tree, if it runs this task."""
        with self._lock:
            begun = self._begun.get(run_id)
        if begun is not None and begun.task == task:
            begun.process.stop(outcome, reason)

    def stop_all(self, reason: str) -> None:
        """Kill everything that runs."""
        with self._lock:
            all_begun = list(self._begun.values())
        for begun in all_begun:
            begun.process.stop(Outcome.PREEMPTED, reason)

    def discard(self, run_id: str) -> None:
        """Remove what is left of a run's folder."""
        self._folders.discard(run_id)

    def run(self, run_id: str, message: TaskMessage, task: TaskRef, process: TaskProcess) -> TaskEnded:
        """Run a task to its end, whatever happens: what the node breaks is reported as its fault."""
        started_at = self._clock()
        folder: TaskFolder | None = None
        kept: KeptFiles | None = None
        try:
            folder = self._folders.take(run_id)
            ending, kept = self._run(run_id, message, task, process, folder)
            kept = self._folders.give_back(run_id, kept)
        except StagingError as error:
            outcome = Outcome.PERMANENT if error.permanent else Outcome.NODE_FAULT
            ending = process.stopped or Ending(outcome, None, str(error))
        except (OSError, StorageError) as error:
            _LOG.warning("task %s of run %s: %s", task, run_id, error)
            ending = process.stopped or Ending(Outcome.NODE_FAULT, None, f"the node could not run it: {error}")
            if is_full(error):
                self._make_room()
        except Exception as error:  # noqa: BLE001  a task must be reported whatever happens
            _LOG.exception("task %s of run %s", task, run_id)
            ending = Ending(Outcome.NODE_FAULT, None, f"a defect of the runner: {error!r}")
        with self._lock:
            self._begun.pop(run_id, None)
        if kept is None and folder is not None:
            folder.remove()
        size = self._uploader.keep(run_id, task, kept) if kept is not None else 0
        report = TaskReport(
            task.task_id, task.attempt, ending.outcome, ending.exit_code, ending.reason, started_at, self._clock()
        )
        return TaskEnded(run_id, report, size)

    def _run(
        self, run_id: str, message: TaskMessage, task: TaskRef, process: TaskProcess, folder: TaskFolder
    ) -> tuple[Ending, KeptFiles]:
        definition = self._definition(message)
        inputs = self._inputs(message)
        own = (file for files in inputs.own if files.task_id == task.task_id for file in files.files)
        self._stager.stage(definition.resource_files, (*inputs.files, *own), folder.working_directory)
        self._stager.write(inputs.texts, folder.working_directory)
        folder.hand_to(self._account)
        definition = self._with_parameters(definition, task)
        logs = tuple(LimitedLog(path, self._settings.log_bytes) for path in (folder.stdout, folder.stderr))
        follower = LogFollower(self._storage, run_id, message, task, logs)
        with self._packages.use(definition.application_packages) as packages:
            command = self._command(message, definition, task, folder, packages)
            ending = process.run(command, definition.exit_codes, follower.meanwhile)
        blamed = blamed_on_disk(ending, self._disk(self._tasks), self._tasks)
        if blamed is not None:
            ending = blamed
            self._make_room()
        # What a run that failed has written is of no use to anyone but a person; its logs are.
        patterns = definition.output_patterns if ending.outcome in {Outcome.SUCCESS, Outcome.IGNORABLE} else ()
        kept = kept_files(folder, patterns, follower.finish())
        if kept.unmatched and not ending.reason:
            ending = replace(ending, reason=f"no file matches {', '.join(map(repr, kept.unmatched))} of its outputs")
        return ending, kept

    def _make_room(self) -> None:
        """Give the next task what room there is: the folder of the one that failed goes anyway."""
        self._packages.make_room()
        self._stager.make_room()

    def _command(
        self,
        message: TaskMessage,
        definition: TaskDefinition,
        task: TaskRef,
        folder: TaskFolder,
        packages: dict[str, str],
    ) -> Command:
        mark = str(folder.path)
        names = task_names(message, definition, task, self._place, folder, mark) | packages
        names = {**self._settings.environment, **names}
        return Command(
            arguments=definition.command,
            working_directory=folder.working_directory,
            environment=task_environment(self._common, names, definition, self._account, folder),
            stdout=folder.stdout,
            stderr=folder.stderr,
            mark=mark,
            account=self._account,
            limit_seconds=definition.wall_clock_limit_seconds,
        )

    def _with_parameters(self, definition: TaskDefinition, task: TaskRef) -> TaskDefinition:
        index = task.task_id - definition.first_task_id
        if definition.table is None:
            return with_parameters(definition, from_axes(definition, index))
        part, row = part_of(definition.table, index)
        rows = self._record(ParameterRows, file_blob(part), part)
        return with_parameters(definition, from_table(definition.table, rows, row))

    def _definition(self, message: TaskMessage) -> TaskDefinition:
        return self._record(TaskDefinition, definition_blob(message.definition), message.definition)

    def _inputs(self, message: TaskMessage) -> ResolvedInputs:
        shared, own = self._resolved(message.inputs), self._resolved(message.own_inputs)
        return replace(shared, own=own.own)

    def _resolved(self, sha256: str | None) -> ResolvedInputs:
        if sha256 is None:
            return ResolvedInputs(())
        return self._record(ResolvedInputs, resolved_blob(sha256), sha256)

    def _record(self, kind: type[_Kind], blob: str, sha256: str) -> _Kind:
        """Give what a blob of `inputs` says; read once for all tasks that name it."""
        with self._lock:
            known = self._records.get(blob)
        if isinstance(known, kind):
            return known
        data = self._storage.get(INPUTS, blob, _PATIENCE_SECONDS)
        if data is None:
            raise StagingError(f"{INPUTS}/{blob} is not there")
        if sha256_hex(data) != sha256:
            raise StagingError(f"{INPUTS}/{blob} has the SHA-256 {sha256_hex(data)}")
        try:
            record = decode(kind, data)
        except ProtocolError as error:
            raise StagingError(f"{INPUTS}/{blob} cannot be understood: {error}") from error
        with self._lock:
            while len(self._records) >= _MOST_RECORDS:
                self._records.pop(next(iter(self._records)))
            self._records[blob] = record
        return record
