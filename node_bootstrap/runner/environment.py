"""What a task finds in its environment: Azure Batch's names, Millpond's own, and little of the runner's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from node_bootstrap.protocol import TaskDefinition, TaskMessage, TaskRef
from node_bootstrap.runner.account import Account
from node_bootstrap.runner.process_tree import RUN_MARK
from node_bootstrap.runner.task_files import TaskFolder

# Of the runner's own environment a task gets what any program needs to find its way, and nothing else: the address of
# the metadata service, for one, is not for it (design decision 19).
_PASSED_ON = frozenset(
    {
        "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "SHELL",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "LD_LIBRARY_PATH",
        # By these whoever runs the machine knows which processes belong to it.
        "MILLPOND_INSTANCE", "MILLPOND_ROOT",
        # Without these few Windows programs start.
        "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "PROGRAMDATA", "PROGRAMFILES",
        "PROGRAMFILES(X86)", "COMMONPROGRAMFILES", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "OS",
    }
)  # fmt: skip
_PASSED_ON_PREFIX = "LC_"


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A node's pool, its name, the runner's folder, and the folder that all its tasks may use."""

    pool: str
    node_id: str
    root: Path
    shared: Path


def common_environment(own: Mapping[str, str], interpreter: Path) -> dict[str, str]:
    """Give what all tasks of a node have in common; `own` is the runner's environment."""
    common = {
        name: value for name, value in own.items() if name.upper() in _PASSED_ON or name.startswith(_PASSED_ON_PREFIX)
    }
    common["PATH"] = _with_interpreter(common.get("PATH", os.defpath), interpreter)
    return common


def task_environment(
    common: Mapping[str, str],
    names: Mapping[str, str],
    definition: TaskDefinition,
    account: Account | None,
    folder: TaskFolder,
) -> dict[str, str]:
    """Give the environment of one task. What the definition says comes last and wins."""
    temporary = str(folder.temporary)
    environment = {**common, "TMPDIR": temporary, "TEMP": temporary, "TMP": temporary}
    if account is not None:
        environment |= {"HOME": str(folder.working_directory), "USER": account.name, "LOGNAME": account.name}
    return environment | dict(names) | dict(definition.environment)


def task_names(
    message: TaskMessage, definition: TaskDefinition, ref: TaskRef, node: NodePlace, folder: TaskFolder, mark: str
) -> dict[str, str]:
    """Give the variables that tell a task who and where it is; docs/tasks.md explains each."""
    return {
        "AZ_BATCH_POOL_ID": node.pool,
        "AZ_BATCH_NODE_ID": node.node_id,
        "AZ_BATCH_NODE_ROOT_DIR": str(node.root),
        "AZ_BATCH_NODE_SHARED_DIR": str(node.shared),
        "AZ_BATCH_JOB_ID": message.job_id,
        "AZ_BATCH_TASK_ID": str(ref.task_id),
        "AZ_BATCH_TASK_DIR": str(folder.path),
        "AZ_BATCH_TASK_WORKING_DIR": str(folder.working_directory),
        "MILLPOND_STEP": definition.step,
        "MILLPOND_TASK_ID": str(ref.task_id),
        "MILLPOND_TASK_INDEX": str(ref.task_id - definition.first_task_id),
        "MILLPOND_TASK_ATTEMPT": str(ref.attempt),
        RUN_MARK: mark,
    }


def _with_interpreter(path: str, interpreter: Path) -> str:
    """Have `python3` be found: the runner's own interpreter, where the path has none of its own place."""
    place = str(interpreter.parent)
    return path if place in path.split(os.pathsep) else place + os.pathsep + path
