"""The Windows half, as far as it can be run elsewhere: the grammar of PowerShell, a C# compiler, a real PowerShell.

What needs a Windows Server is not tried here: README.md says so. Where `pwsh` or a C# compiler is not on the PATH, the
tests that need them are counted as skipped.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tree_sitter
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.bundle import SYSTEM_FILES
from node_bootstrap.protocol import ExitCodeRules
from node_bootstrap.render import TEMPLATES, OperatingSystem, render_stage_0
from node_bootstrap.runner.account import Account
from node_bootstrap.runner.boot_steps import COMMANDS_NUMBER, PACKAGES_NUMBER
from node_bootstrap.runner.shell import RETIRED
from node_bootstrap.runner.task_process import Command, TaskProcess
from tests.node_bootstrap.profiles import SAMPLE
from tests.node_bootstrap.test_quoting import ANY_TEXT, HOSTILE
from tests.node_bootstrap.test_render import POWERSHELL, powershell_errors

INSTALL = (TEMPLATES / "windows_install.ps1").read_text(encoding="utf-8")
SERVICE = TEMPLATES / "windows_service.cs"
PWSH = shutil.which("pwsh") or shutil.which("powershell")
MCS, MONO = shutil.which("mcs"), shutil.which("mono")

needs_pwsh = pytest.mark.skipif(PWSH is None, reason="no PowerShell on the PATH")
needs_csharp = pytest.mark.skipif(MCS is None or MONO is None, reason="no C# compiler (mcs, mono) on the PATH")


def nodes(source: str, kind: str) -> Iterator[tree_sitter.Node]:
    """Every node of a kind, in order of the text."""
    stack = [POWERSHELL.parse(source.encode()).root_node]
    while stack:
        node = stack.pop()
        if node.type == kind:
            yield node
        stack.extend(reversed(node.children))


def text_of(node: tree_sitter.Node) -> str:
    """A node's source."""
    assert node.text is not None
    return node.text.decode()


@given(st.one_of(st.sampled_from(HOSTILE), ANY_TEXT))
def test_the_profile_is_one_literal_whatever_it_says(text: str) -> None:
    """PowerShell's grammar finds the whole profile in one string, and the string says what the profile says."""
    profile = replace(SAMPLE, pool=text[:20])
    try:
        source = render_stage_0(OperatingSystem.WINDOWS, profile)
    except ValueError as error:
        assert "4096 fit" in str(error)  # noqa: PT017 - JSON writes some letters as six
        return
    assert powershell_errors(source) == []
    literals = [text_of(node) for node in nodes(source, "verbatim_string_characters")]
    assert literals[:2] == ["'Stop'", "'SilentlyContinue'"]
    assert json.loads(literals[2][1:-1].replace("''", "'")) == asdict(profile)


@pytest.mark.parametrize("name", ["windows_install.ps1", "windows_stage0.ps1.j2", "windows_service.cs"])
def test_the_sources_are_ascii(name: str) -> None:
    """Windows PowerShell 5.1 reads a file without a mark in the machine's old code page."""
    assert (TEMPLATES / name).read_bytes().isascii()


def test_every_step_is_recorded_in_order() -> None:
    """Each step that begins ends with a record before the next, and the numbers are Linux's."""
    marks = re.findall(r"^(?:Start-Step (\d) '(\w+)'|Write-Record (0))$", INSTALL, re.MULTILINE)
    assert [(number, name) if number else end for number, name, end in marks] == [
        ("2", "python"), "0", ("3", "install"), "0", ("4", "disk"), "0", ("7", "service"), "0",
    ]  # fmt: skip
    linux = (TEMPLATES / "linux_install.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"^ *begin (\d) (\w+)$", linux, re.MULTILINE)) == {
        (number, name) for number, name, _ in marks if number
    }
    assert {PACKAGES_NUMBER, COMMANDS_NUMBER} == {5, 6}


def test_a_failed_installation_fails_the_extension() -> None:
    """A script's `exit` ends that script alone, so stage 0 passes the code of the install script on."""
    assert render_stage_0(OperatingSystem.WINDOWS, SAMPLE).splitlines()[-1] == "exit $LASTEXITCODE"
    assert INSTALL.splitlines()[-1] == "exit 0"


def test_native_programs_are_never_called_unchecked() -> None:
    """Every call by `&` is of a checked kind: PowerShell goes on after a native program that failed."""
    calls = [line.strip() for line in INSTALL.splitlines() if re.match(r"\s*(\$null = )?& ", line)]
    following = INSTALL.splitlines()
    for call in calls:
        index = next(number for number, line in enumerate(following) if line.strip() == call)
        assert any("$LASTEXITCODE" in line for line in following[index : index + 3]), call


def test_the_secret_of_the_account_is_neither_kept_nor_shown() -> None:
    """The password's variable is used for the account alone; nothing writes it, and no other program gets it."""
    lines = [line.strip() for line in INSTALL.splitlines() if re.search(r"\$secret\b|\$random\b", line)]
    allowed = r"New-Object byte|GetBytes|ConvertTo-SecureString|-Password \$secret|Dispose\(\)"
    assert [line for line in lines if re.search(allowed, line) is None] == []
    assert not re.search(r"Add-Line.*secret|Write-Output.*secret|AutoAdminLogon", INSTALL)


def test_a_retired_runner_is_not_started_again() -> None:
    """The service knows the runner's word for it, and ends cleanly, which Windows does not restart."""
    source = SERVICE.read_text(encoding="ascii")
    assert f"const int Retired = {RETIRED};" in source
    assert "if (code == Retired) break;" in source
    assert "ScheduledTask" not in INSTALL


def test_what_the_install_script_names_is_in_the_bundle() -> None:
    """The files that it reads from its own folder are packed."""
    named = set(re.findall(r"Join-Path \$PSScriptRoot '([\w.-]+)'", INSTALL))
    assert named - {"millpond-service.exe"} == set(SYSTEM_FILES[OperatingSystem.WINDOWS]) - {"install.ps1"} | {
        "boot-plan.json"
    }


def test_tasks_are_started_by_the_launcher_where_there_is_one(tmp_path: Path) -> None:
    """It gets the account and the whole command, the task's output is the task's, and its exit code comes back."""
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\necho "$1 $2" >"{tmp_path}/called"\nshift 2\nexec "$@"\n')
    launcher.chmod(0o755)
    stdout, stderr = tmp_path / "stdout.txt", tmp_path / "stderr.txt"
    words = ["sh", "-c", 'echo "$0"; exit 7', 'a "b" c']
    account = Account("millpond-task", None, launcher)
    command = Command(words, tmp_path, dict(os.environ), stdout, stderr, str(tmp_path), account)
    assert TaskProcess().run(command, ExitCodeRules()).exit_code == 7
    assert (tmp_path / "called").read_text() == "run-as millpond-task\n"
    assert stdout.read_text() == 'a "b" c\n'


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program made of the service's source and a few lines: writes words of its input as one command line."""
    folder = tmp_path_factory.mktemp("service")
    harness = folder / "harness.cs"
    harness.write_text(
        "static class Harness { static void Main() { System.Console.InputEncoding = System.Console.OutputEncoding ="
        " new System.Text.UTF8Encoding(false); string line; while ((line = System.Console.In.ReadLine()) != null)"
        " { var words = line.Split('\\u0001'); System.Console.Out.Write(Words.Join(words, 0) + '\\u0002'); } } }"
    )
    program = folder / "words.exe"
    command = [str(MCS), "-langversion:5", "-warnaserror", "-r:System.ServiceProcess", "-main:Harness"]
    subprocess.run([*command, f"-out:{program}", str(SERVICE), str(harness)], check=True, capture_output=True)
    return program


def arguments_of(line: str) -> list[str]:
    """Take a command line apart by the rules of the C runtime (documented: parsing C command-line arguments)."""
    words, word, quoted, there, index = [], "", False, False, 0
    while index < len(line):
        backslashes = len(line) - index - len(line[index:].lstrip("\\"))
        index += backslashes
        if index < len(line) and line[index] == '"':
            word += "\\" * (backslashes // 2)
            there = True
            if backslashes % 2:
                word += '"'
            else:
                quoted = not quoted
            index += 1
            continue
        word += "\\" * backslashes
        there = there or backslashes > 0
        if index < len(line):
            if line[index] in " \t" and not quoted:
                if there:
                    words.append(word)
                word, there = "", False
            else:
                word, there = word + line[index], True
            index += 1
    return [*words, word] if there else words


@needs_csharp
def test_a_command_line_gives_its_words_back(words: Path) -> None:
    """Words with spaces, quotes and backslashes arrive at a program as they were, by the C runtime's own rules."""
    letters = st.text(st.sampled_from('ab \\"\t\u00e9'), max_size=8)
    seen: list[list[str]] = []

    @given(st.lists(letters, min_size=1, max_size=5))
    def collect(found: list[str]) -> None:
        seen.append(found)

    collect()
    seen.extend([["C:\\a b\\"], ['say "hi"', ""], ['\\\\"', "\\"]])
    given_text = "".join("\u0001".join(each) + "\n" for each in seen)
    done = subprocess.run([str(MONO), str(words)], input=given_text.encode(), capture_output=True, check=True)
    lines = done.stdout.decode().split("\u0002")[:-1]
    assert [arguments_of(line) for line in lines] == seen


@needs_csharp
def test_the_service_compiles_with_the_compiler_that_windows_has(tmp_path: Path) -> None:
    """C# 5, the System assemblies of the .NET Framework, not one warning; without arguments it says how it is used."""
    program = tmp_path / "service.exe"
    command = [str(MCS), "-langversion:5", "-warnaserror", "-warn:4", "-r:System.ServiceProcess", f"-out:{program}"]
    done = subprocess.run([*command, str(SERVICE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    used = subprocess.run([str(MONO), str(program)], capture_output=True, text=True, check=False)
    assert used.returncode == 2
    assert "run-as ACCOUNT" in used.stderr


@needs_pwsh
@pytest.mark.parametrize("name", ["install", "stage0"])
def test_powershell_itself_parses_the_scripts(name: str, tmp_path: Path) -> None:
    """Its own parser has no error."""
    path = tmp_path / f"{name}.ps1"
    path.write_text(INSTALL if name == "install" else render_stage_0(OperatingSystem.WINDOWS, SAMPLE))
    script = (
        "$errors = $null; $null = [Management.Automation.Language.Parser]::ParseFile("
        f"'{path}', [ref]$null, [ref]$errors); $errors | ForEach-Object {{ \"$_\" }}; exit $errors.Count"
    )
    done = subprocess.run([str(PWSH), "-NoProfile", "-Command", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0)


@needs_pwsh
def test_powershell_itself_reads_the_profile(tmp_path: Path) -> None:
    """The rendered assignment gives the profile back, and runs none of it."""
    text = "".join(HOSTILE)
    source = render_stage_0(OperatingSystem.WINDOWS, replace(SAMPLE, pool=text))
    start = source.index("$profileJson = ")
    assignment = source[start : source.index("\n$settings", start)]
    path = tmp_path / "read.ps1"
    path.write_text(f"{assignment}\n[IO.File]::WriteAllText('{tmp_path}/out.json', $profileJson)\n", "utf-8-sig")
    subprocess.run([str(PWSH), "-NoProfile", "-File", str(path)], capture_output=True, check=True)
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["pool"] == text
