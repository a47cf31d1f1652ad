"""`millpond application`: programs that are uploaded once and named by jobs."""

import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from node_bootstrap.protocol import ApplicationPackage
from scheduler.cli.connection import scheduler_of, storage_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples, group
from scheduler.cli.tables import applications_table, console, print_json, size
from scheduler.cli.upload import upload as upload_files
from scheduler.errors import InvalidRequestError
from scheduler.model import Application

application = group("application", "Upload programs once; jobs name them.")

# The same content is the same bytes on any machine and day: no times, no compression (its bytes depend on the build).
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_EXECUTABLE = 0o755 << 16
_PLAIN = 0o644 << 16
_ANY_EXECUTE = 0o111

Name = Annotated[str, typer.Argument(metavar="NAME", help="The application's name.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Any text of letters, digits and inner - _ .")]


@application.command(epilog=examples("millpond application upload tool 1.2 build/tool --default"))
def upload(
    name: Name,
    version: Version,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A zip file, or a folder, which is zipped.")],
    default: Annotated[bool, typer.Option("--default", help="Jobs that name no version get this one.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Upload a version of a program; unchanged content is not sent again.

    A version never changes. The first one of a name is its default.
    """
    with tempfile.TemporaryDirectory() as folder, scheduler_of(stack) as service:
        packed = packed_as_zip(path, Path(folder) / "package.zip")
        sent = upload_files(storage_of(service), [packed])
        made = service.put_application(name, version, sent.files[packed], default=default)
    if as_json:
        print_json(made)
    else:
        how = "sent" if sent.sent else "there already"
        mark = ", the default" if made.default else ""
        console().print(f"{name}:{version}: {size(made.file.length)}, {how}{mark}", markup=False)


@application.command(name="list", epilog=examples("millpond application list"))
def list_applications(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """List every version of every application."""
    with scheduler_of(stack) as service:
        found = service.list_applications()
    if as_json:
        print_json(found)
    else:
        console().print(applications_table(found))


@application.command(epilog=examples("millpond application delete tool 1.1"))
def delete(name: Name, version: Version, stack: Stack = DEFAULT_STACK) -> None:
    """Remove a version; jobs that were submitted with it keep it."""
    with scheduler_of(stack) as service:
        service.delete_application(name, version)
    console().print(f"{name}:{version} is removed", markup=False)


def packed_as_zip(path: Path, target: Path) -> Path:
    """Give a zip file as it is, or a folder's files as one: the same bytes for the same content."""
    if path.is_file():
        if not zipfile.is_zipfile(path):
            raise InvalidRequestError(f"{path} is no zip file; give a zip file or a folder")
        return path
    if not path.is_dir():
        raise InvalidRequestError(f"{path} does not exist; give a zip file or a folder")
    files = sorted(found for found in path.rglob("*") if found.is_file())
    if not files:
        raise InvalidRequestError(f"the folder {path} has no files")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(path).as_posix(), _EARLIEST)
            entry.create_system = 3  # Unix: the mark of a program is kept
            entry.external_attr = _EXECUTABLE if file.stat().st_mode & _ANY_EXECUTE else _PLAIN
            entry.file_size = file.stat().st_size
            with packed.open(entry, "w") as there, file.open("rb") as here:
                while data := here.read(1 << 20):
                    there.write(data)
    return target


def packages(named: Iterable[str], known: Sequence[Application]) -> tuple[ApplicationPackage, ...]:
    """Give the packages that a job names, `name:version` or `name` for its default; every finding at once."""
    found, findings = [], []
    for text in dict.fromkeys(named):
        name, _, version = text.partition(":")
        fits = [
            each for each in known if each.name == name and (each.version == version or (not version and each.default))
        ]
        if fits:
            found.append(ApplicationPackage(fits[0].name, fits[0].version, fits[0].file))
        else:
            there = ", ".join(f"{each.name}:{each.version}" for each in known) or "none"
            findings.append(f"there is no application {text!r}; there are: {there}")
    if findings:
        raise InvalidRequestError("; ".join(findings))
    return tuple(found)
