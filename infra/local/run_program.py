"""Runs one Pulumi program in this interpreter, as the official host's pulumi-language-python-exec does.

Started by language_host.py as a file, with the virtual environment's Python: it may import nothing of this project.
The request comes as JSON on standard input, so that settings which are secret stand in no environment.
Exit codes: 0 done, 32 failed and the user was told why, anything else failed.
"""

import asyncio
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config

TOLD = 32


def main() -> int:
    """Read the request, run the program, return the exit code."""
    request = json.load(sys.stdin)
    set_all_config(request["config"], request["config_secret_keys"])
    configure(
        Settings(
            project=request["project"],
            stack=request["stack"],
            monitor=request["monitor"],
            engine=request["engine"],
            parallel=request["parallel"],
            dry_run=request["dry_run"],
            organization=request["organization"],
            root_directory=request["root_directory"],
        )
    )
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
            loop.run_until_complete(run_in_stack(lambda: _run(request)))
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
