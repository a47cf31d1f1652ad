"""A stand-in for pulumi-language-python, for plain ``pulumi up`` where the official host is not installed.

Each run is a fresh interpreter with the directory, environment and arguments of the engine that asks, as with the
official host: nothing of yesterday's program answers today's preview, and two runs at once share nothing.
"""

# ruff: noqa: N802, ARG002, D102 - pulumirpc.LanguageRuntime names the methods, their arguments and what they do

import json
import os
import shutil
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import (
    LanguageRuntimeServicer,
    engine_pb2,
    engine_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    plugin_pb2,
)

from infra.local.plugin_server import serve

CONCURRENT_CALLS = 32  # a run holds one for as long as its program runs
ENGINES_REMEMBERED = 256  # connections whose engine address is kept
GRACE_SECONDS = 5.0  # between asking a program to end and ending it
RUNNER = Path(__file__).with_name("run_program.py")
_DEBUG_FLAGS = {"-d", "--debug"}
TOLD = 32  # the runner's exit code when the user has been told what failed


class HostError(Exception):
    """A program cannot be started; the message says why and what to do."""


def start(port: int = 0) -> tuple[grpc.Server, int]:
    """Serve the language host on a loopback port, this one if it is free; stop it by the server's ``stop``."""
    host = PythonHost()
    server, host.port = serve(
        "language-host",
        CONCURRENT_CALLS,
        port,
        lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server),
    )
    return server, host.port


class PythonHost(LanguageRuntimeServicer):
    """The calls of pulumirpc.LanguageRuntime that running a program needs."""

    def __init__(self) -> None:
        self.port = 0
        self._engines: OrderedDict[str, str] = OrderedDict()  # the engine's log address by its connection to us
        self._lock = threading.Lock()

    def Handshake(self, request: Any, context: Any) -> Any:
        with self._lock:
            self._engines[context.peer()] = request.engine_address
            while len(self._engines) > ENGINES_REMEMBERED:
                self._engines.popitem(last=False)
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPackagesResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:
        line = b"The project's Python packages are set up by make setup; nothing is installed here.\n"
        yield language_pb2.InstallDependenciesResponse(stdout=line)

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:
        return language_pb2.GetProgramDependenciesResponse()

    def About(self, request: Any, context: Any) -> Any:
        try:
            python = _interpreter(request.info, os.environ)
        except HostError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        answer = subprocess.run([python, "--version"], capture_output=True, text=True, timeout=30, check=False)
        return language_pb2.AboutResponse(executable=python, version=answer.stdout.strip().removeprefix("Python "))

    def Cancel(self, request: Any, context: Any) -> Any:
        # Other engines use us too; a program ends with its own run, or when its monitor goes.
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:
        peer = context.peer()
        engine = self._engines.get(peer) or (request.args[0] if request.args else "")
        try:
            environment, wants_debug = _engine_at(peer, self.port)
            python = _interpreter(request.info, environment)
            code = _run(request, engine, python, environment, context, debug=wants_debug)
        except HostError as error:
            return language_pb2.RunResponse(error=str(error))
        if code == 0:
            return language_pb2.RunResponse()
        if code == TOLD:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with exit code {code}")


def _run(request: Any, engine: str, python: str, environment: Mapping[str, str], context: Any, *, debug: bool) -> int:
    """Run the program to its end, its output to the engine's log; return its exit code."""
    order = {
        "project": request.project,
        "stack": request.stack,
        "pwd": request.pwd,
        "program": request.info.entry_point or request.program,
        "args": list(request.args),
        "config": dict(request.config),
        "config_secret_keys": list(request.configSecretKeys),
        "dry_run": request.dryRun,
        "parallel": request.parallel,
        "monitor": request.monitor_address,
        "engine": engine,
        "debug": debug,
        "organization": request.organization or "organization",
        "root_directory": request.info.root_directory,
    }
    with subprocess.Popen(
        [python, "-P", "-u", str(RUNNER)],  # -P: the runner's own folder is not for the program to import from
        cwd=request.pwd,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        context.add_callback(lambda: _end(process))
        if process.stdin is None or process.stdout is None:
            raise HostError("the program's pipes could not be opened")
        try:
            process.stdin.write(json.dumps(order))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read; its output says why
        _log(process.stdout, engine)
        return process.wait()


def _log(lines: Iterator[str], engine: str) -> None:
    """Send a program's lines to the engine that shows them, as they come."""
    with grpc.insecure_channel(engine) as channel:  # type: ignore[no-untyped-call] # grpcio ships no types
        stub = engine_pb2_grpc.EngineStub(channel)
        for line in lines:
            try:
                stub.Log(engine_pb2.LogRequest(severity=engine_pb2.INFO, message=line.rstrip("\n")))
            except grpc.RpcError:
                continue  # the engine is gone, and nobody reads; the pipe is still to be emptied


def _end(process: subprocess.Popen[str]) -> None:
    """End a program whose caller has gone."""
    if process.poll() is None:
        process.terminate()
        last = threading.Timer(GRACE_SECONDS, process.kill)
        last.daemon = True
        last.start()


def _interpreter(info: Any, environment: Mapping[str, str]) -> str:
    """Return the Python that Pulumi.yaml asks for: the virtual environment's, else the one on the engine's PATH."""
    virtualenv = json_format.MessageToDict(info.options).get("virtualenv")
    if virtualenv:
        folder = Path(info.root_directory, virtualenv)
        python = folder / "bin" / "python"
        if python.is_file():
            return str(python)
        raise HostError(f"there is no virtual environment {folder} (Pulumi.yaml names it): run make setup")
    found = shutil.which("python3", path=environment.get("PATH"))
    if found is None:
        raise HostError("there is no python3 on PATH, and Pulumi.yaml names no virtual environment")
    return found


def _engine_at(peer: str, port: int) -> tuple[dict[str, str], bool]:
    """Return the environment of the process at the other end of a connection to our port, and if it shows debug lines.

    The official host inherits it from the engine that starts it; we are started by nobody and have to look.
    """
    peer_port = int(peer.rpartition(":")[2])
    for process in psutil.process_iter():
        try:
            if process.uids().real == os.getuid() and _connects(process, peer_port, port):
                return process.environ(), not _DEBUG_FLAGS.isdisjoint(process.cmdline())
        except psutil.Error:
            continue  # gone meanwhile, or closed to us: not the engine that waits for us
    raise HostError(
        f"the engine's process at {peer} cannot be looked at; run pulumi as the user who started the local Azure"
    )


def _connects(process: psutil.Process, local: int, remote: int) -> bool:
    connections = process.net_connections("tcp")
    return any(c.raddr and c.laddr.port == local and c.raddr.port == remote for c in connections)
