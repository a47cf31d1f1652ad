"""The entry point: light, helpful, and plain about what is wrong."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra import deploy
from infra.cli import COMMANDS, app, stack_of
from infra.findings import ConfigError
from infra.stacks import PROJECT_ROOT, environment_of, settings_of
from scheduler.errors import InvalidRequestError

runner = CliRunner()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a local Azure that may run on this machine is seen or touched."""
    monkeypatch.setenv("MILLPOND_HOME", str(tmp_path))


def test_help_names_every_command() -> None:
    """The help lists all commands with what they do."""
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output and command.summary in result.output for name, command in COMMANDS.items())


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("joob", "Did you mean 'job'?"), ("deploy", "Did you mean 'destroy'?"), ("xyzzy", "There are: up, preview")],
)
def test_an_unknown_command_is_told_with_what_it_may_have_meant(typed: str, hint: str) -> None:
    """One message with the nearest command, and the exit code of wrong use."""
    result = runner.invoke(app, [typed])
    assert result.exit_code == 2
    assert f"No such command '{typed}'. {hint}" in " ".join(result.output.split())


def test_the_version_is_printed() -> None:
    """`--version` says which one this is."""
    assert runner.invoke(app, ["--version"]).output.startswith("millpond 0.")


@pytest.mark.parametrize("arguments", [["--help"], ["job", "--help"], ["pool", "--help"]])
def test_looking_at_jobs_loads_no_pulumi(arguments: list[str]) -> None:
    """Commands of the scheduler start without the deployment's packages."""
    code = (
        "import sys; from infra.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "sys.exit(any(name.partition('.')[0] in {'pulumi', 'pulumi_azure_native', 'grpc'} for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["up", "preview"])
def test_a_stack_that_is_not_there_is_one_message(command: str) -> None:
    """The message names the file that is missing and the stacks that are there."""
    result = runner.invoke(app, [command, "--stack", "nowhere"])
    assert result.exit_code == 2
    assert result.output.startswith("error: there is no stack 'nowhere'")
    assert "dev, local" in result.output


@pytest.mark.parametrize("command", ["up", "preview"])
def test_a_local_azure_that_is_down_is_one_message(command: str) -> None:
    """A deployment that cannot begin says what to start."""
    result = runner.invoke(app, [command])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert "millpond local up" in result.output


def test_wrong_settings_are_all_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every finding is in the one message, without a stack trace."""
    (tmp_path / "Pulumi.local.yaml").write_text("config:\n  millpond:cloud: local\n  millpond:enviroment: x\n")
    monkeypatch.setattr("infra.stacks.PROJECT_ROOT", tmp_path)
    result = runner.invoke(app, ["up"])
    assert result.exit_code == 2
    assert all(f"millpond:{name}" in result.output for name in ("enviroment", "environment", "location", "pools"))
    assert "Traceback" not in result.output
    with pytest.raises(ConfigError):
        deploy.check("local")


def test_destroy_asks_and_without_a_terminal_refuses() -> None:
    """Nobody's data goes because a script forgot to ask."""
    result = runner.invoke(app, ["destroy"])
    assert result.exit_code == 2
    assert "repeat with --yes" in result.output


def test_settings_that_are_no_yaml_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file is an error of use with its path, not a trace."""
    monkeypatch.setattr("infra.stacks.PROJECT_ROOT", tmp_path)
    (tmp_path / "Pulumi.x.yaml").write_text("config: [")
    with pytest.raises(InvalidRequestError, match=r"Pulumi\.x\.yaml is not YAML"):
        settings_of("x")
    (tmp_path / "Pulumi.x.yaml").write_text("config:\n")
    with pytest.raises(InvalidRequestError, match="has no settings"):
        settings_of("x")


def test_a_stack_of_azure_runs_in_the_callers_environment() -> None:
    """Only a stack whose settings say so is given the local Azure's variables."""
    assert environment_of("dev") == {}


@pytest.mark.parametrize(
    ("arguments", "environment", "stack"),
    [
        ([], {}, "local"),
        (["list", "--stack", "dev"], {}, "dev"),
        (["list", "--stack=dev"], {"MILLPOND_STACK": "prod"}, "dev"),
        (["list"], {"MILLPOND_STACK": "prod"}, "prod"),
        (["list", "--stack"], {}, "local"),
    ],
)
def test_the_stack_is_known_before_the_command_is_loaded(
    arguments: list[str], environment: Mapping[str, str], stack: str
) -> None:
    """The option wins over the variable, and that over the default."""
    assert stack_of(arguments, environment) == stack


def test_the_engine_never_wants_to_change_the_settings_file() -> None:
    """The local stack's file has its salt, so that a deployment leaves the working tree clean."""
    assert "encryptionsalt: v1:" in (PROJECT_ROOT / "Pulumi.local.yaml").read_text()
