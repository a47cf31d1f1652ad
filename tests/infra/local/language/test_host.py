"""Plain ``pulumi up`` runs the program as the official language host would."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from infra.local import toolchain
from infra.local.language import host as language_host

Pulumi = Callable[..., subprocess.CompletedProcess[str]]


PART = """
import pulumi

class Part(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("tiny:index:Part", name)
        self.colour = "red"
        self.register_outputs({})
"""
PROGRAM = """
import os, pulumi
from parts import Part

print("a line of the program")
pulumi.export("colour", Part("one").colour)
pulumi.export("setting", pulumi.Config().require("setting"))
pulumi.export("hidden", pulumi.Config().require_secret("hidden"))
pulumi.export("variable", os.environ["A_VARIABLE"])
pulumi.export("interpreter", os.getpid())
pulumi.export("folder", os.getcwd())
"""


@pytest.fixture
def port() -> Iterator[int]:
    """Serve a language host."""
    server, port = language_host.start()
    yield port
    server.stop(None).wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write a small project that uses this interpreter's virtual environment."""
    folder = tmp_path / "project"
    (folder / "program").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text(
        textwrap.dedent(f"""
        name: tiny
        main: program/
        runtime: {{name: python, options: {{virtualenv: {os.path.relpath(sys.prefix, folder)}}}}}
        """)
    )
    (folder / "program" / "parts.py").write_text(PART)
    (folder / "program" / "__main__.py").write_text(PROGRAM)
    return folder


@pytest.fixture
def run(port: int, project: Path, tmp_path: Path) -> Pulumi:
    """Return a function that runs the real pulumi in the project."""
    (tmp_path / "state").mkdir()

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "local",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DEBUG_LANGUAGES": f"python:{port}",
            "A_VARIABLE": "of the shell",
        }
        command = [str(toolchain.pulumi_command()), *words, "--non-interactive", "--color=never"]
        return subprocess.run(
            command,
            cwd=project,
            env={**os.environ, **settings, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def output(run: Pulumi, name: str, stack: str = "dev") -> str:
    """Return a stack's output."""
    return run("stack", "output", name, "--stack", stack).stdout.strip()


@pytest.mark.system
def test_up_runs_the_program_in_its_shells_environment(run: Pulumi, project: Path) -> None:
    """Directory, variables, settings and secrets are those of the `pulumi up` that asks; edits show at once."""
    for words in (("stack", "init", "dev"), ("config", "set", "setting", "plain")):
        assert run(*words).returncode == 0
    assert run("config", "set", "--secret", "hidden", "hush").returncode == 0
    up = run("up", "--yes")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "a line of the program" in up.stdout
    assert "hush" not in up.stdout
    assert output(run, "variable") == "of the shell"
    assert output(run, "setting") == "plain"
    assert output(run, "folder") == str(project / "program")

    (project / "program" / "parts.py").write_text(PART.replace("red", "blue"))
    preview = run("preview", "--diff")
    assert '~ colour     : "red" => "blue"' in preview.stdout


@pytest.mark.system
def test_a_programs_error_is_shown_to_its_author(run: Pulumi, project: Path) -> None:
    """An exception is shown with the program's own frames, a missing program by a sentence; both fail the run."""
    assert run("stack", "init", "dev").returncode == 0
    (project / "program" / "__main__.py").write_text("def deep():\n    1 / 0\n\ndeep()\n")
    failed = run("preview")
    assert failed.returncode != 0
    assert "ZeroDivisionError" in failed.stdout
    assert "runpy" not in failed.stdout
    assert failed.stdout.count("Program failed with an unhandled exception") <= 2
    (project / "program" / "__main__.py").unlink()
    failed = run("preview")
    assert failed.returncode != 0
    assert "there is no __main__.py in" in failed.stdout + failed.stderr


@pytest.mark.system
def test_two_runs_at_once_do_not_mix(run: Pulumi) -> None:
    """Two stacks deployed at the same time each see their own settings, environment and interpreter."""
    stacks = ("one", "two")
    for stack in stacks:
        assert run("stack", "init", stack).returncode == 0
        assert run("config", "set", "setting", stack, "--stack", stack).returncode == 0
        assert run("config", "set", "hidden", stack, "--secret", "--stack", stack).returncode == 0
    with ThreadPoolExecutor() as pool:
        ups = list(pool.map(lambda stack: run("up", "--yes", "--stack", stack, A_VARIABLE=stack), stacks))
    assert [up.returncode for up in ups] == [0, 0]
    for stack in stacks:
        assert output(run, "setting", stack) == stack
        assert output(run, "variable", stack) == stack
    assert output(run, "interpreter", "one") != output(run, "interpreter", "two")


def test_a_missing_virtual_environment_is_said(port: int, tmp_path: Path) -> None:
    """A run whose Pulumi.yaml names an absent virtual environment says which, and what to do."""
    request = language_pb2.RunRequest(program=".", pwd=str(tmp_path))
    request.info.root_directory = str(tmp_path)
    request.info.options.update({"virtualenv": "absent"})
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = language_pb2_grpc.LanguageRuntimeStub(channel).Run(request)
    assert (
        answer.error == f"there is no virtual environment {tmp_path / 'absent'} (Pulumi.yaml names it): run make setup"
    )


def test_what_the_engine_asks_besides_is_answered(port: int) -> None:
    """No plugin has to be downloaded, nothing installed, and About names the interpreter."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = language_pb2_grpc.LanguageRuntimeStub(channel)
        assert list(stub.GetRequiredPackages(language_pb2.GetRequiredPackagesRequest()).packages) == []
        assert stub.GetPluginInfo(empty_pb2.Empty()).version == ""
        assert stub.About(language_pb2.AboutRequest()).version.startswith("3.")
        [step] = stub.InstallDependencies(language_pb2.InstallDependenciesRequest())
        assert b"make setup" in step.stdout
