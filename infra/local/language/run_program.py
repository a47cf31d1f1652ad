"""Runs one Pulumi program in this interpreter, as the official host's pulumi-language-python-exec does.

Started by host.py as a file, with the virtual environment's Python: it may import nothing of this project.
The request comes as JSON on standard input, so that settings which are secret stand in no environment.
Exit codes: 0 done, 32 failed and the user was told why, anything else failed.
"""

import asyncio
import gc
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, resource_pb2
from pulumi.runtime.settings import SETTINGS, monitor_supports_feature

TOLD = 32
# A program makes hundreds of thousands of objects that live until its end; looking through them again and again finds
# nothing and takes a tenth of its time.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


class EngineLog:
    """The engine's service, without the debug lines that nobody asked for: there are several a resource."""

    def __init__(self, engine: str, *, debug: bool) -> None:
        self._stub: Any = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine))  # type: ignore[no-untyped-call]
        self._debug = debug

    def __getattr__(self, name: str) -> Any:
        """Offer the service's other calls as they are."""
        return getattr(self._stub, name)

    def Log(self, request: Any) -> Any:  # noqa: N802 - pulumirpc.Engine names it
        """Pass a line on, unless it is a debug line that is not wanted."""
        if self._debug or request.severity != engine_pb2.DEBUG:
            return self._stub.Log(request)
        return None


class Settling:
    """Waits for everything that a program has set going, or for the first thing of it that fails.

    The SDK's own wait looks at all that is under way whenever one thing ends, which takes minutes for a thousand
    resources. This one hears of each thing once; the SDK's wait comes after it and finds nothing, or the failure.
    """

    def __init__(self) -> None:
        self._watched: set[asyncio.Future[Any]] = set()
        self._changed = asyncio.Event()
        self._failed = False

    async def wait(self) -> None:
        """Return when nothing is under way any more, or something has failed."""
        while not self._failed and self._watch():
            self._changed.clear()
            await self._changed.wait()

    def _watch(self) -> bool:
        """Hear of all that is under way now; say whether there is anything."""
        with SETTINGS.lock:
            tasks = set(SETTINGS.outputs) - self._watched
        self._watched |= tasks
        for task in tasks:
            task.add_done_callback(self._ended)  # soon, for what has ended already
        return bool(self._watched)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._watched.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._failed = True
        if self._failed or not self._watched:
            self._changed.set()


def main() -> int:
    """Read the request, run the program, return the exit code."""
    request = json.load(sys.stdin)
    set_all_config(request["config"], request["config_secret_keys"])
    configure(
        Settings(
            project=request["project"],
            stack=request["stack"],
            monitor=request["monitor"],
            engine=EngineLog(request["engine"], debug=request["debug"]),
            parallel=request["parallel"],
            dry_run=request["dry_run"],
            organization=request["organization"],
            root_directory=request["root_directory"],
        )
    )
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    os.chdir(request["pwd"])
    sys.argv = [request["program"], *request["args"]]
    # A program that fails leaves futures behind that nobody awaits; asyncio would complain of each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Four threads an operation, as the official host has them.
    with ThreadPoolExecutor(max(request["parallel"], 1) * 4) as executor:
        loop.set_default_executor(executor)
        try:
            loop.run_until_complete(run_in_stack(lambda: _settled(request)))
        except pulumi.RunError as error:
            pulumi.log.error(str(error))
            return TOLD
        except Exception:  # noqa: BLE001 - whatever a program raises is shown to its author
            pulumi.log.error("Program failed with an unhandled exception:\n" + _own_trace(request["program"]))
            return TOLD
        finally:
            loop.close()
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


async def _settled(request: dict[str, Any]) -> None:
    if monitor_supports_feature(resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS):
        # The SDK writes out each alias of each resource as a URN, which only engines need that do not take aliases as
        # they are. A resource of azure-native has ten of them: it is half of the time of a large program.
        pulumi.resource.collapse_alias_to_urn = _not_written_out  # type: ignore[attr-defined,assignment]
    _run(request)
    await Settling().wait()


def _not_written_out(*_arguments: Any) -> Any:
    """Stand for the URN of an alias that nobody reads."""
    return ""


def _run(request: dict[str, Any]) -> None:
    program = Path(request["program"])
    if program.is_dir() and not (program / "__main__.py").is_file():
        raise pulumi.RunError(f"no Python program: there is no __main__.py in {program.resolve()}")
    runpy.run_path(request["program"], run_name="__main__")


def _own_trace(program: str) -> str:
    """Return the stack trace from the program's first frame on; the host's own frames say nothing to its author."""
    path = Path(program).resolve()
    entry = path / "__main__.py" if path.is_dir() else path
    frames = traceback.extract_tb(sys.exc_info()[2])
    for index, frame in enumerate(frames):
        if Path(frame.filename).resolve() == entry:
            return traceback.format_exc(limit=index - len(frames))
    return traceback.format_exc()


if __name__ == "__main__":
    sys.exit(main())
