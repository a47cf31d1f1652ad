"""What every part of the settings is made of: frozen sections, and types that say what to write instead."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from infra import naming
from infra.findings import wrong
from scheduler.durations import DURATION_RULE, parse_duration


class Section(BaseModel):
    """A part of the settings: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def rule(check: Callable[[str], bool], words: str) -> AfterValidator:
    """Make a text's validator of a check and of words that complete "write ..."."""

    def validate(value: str) -> str:
        if not check(value):
            raise wrong(f"{value!r} is not allowed", f"write {words}")
        return value

    return AfterValidator(validate)


def some(value: object) -> object:
    """Refuse an empty list."""
    if isinstance(value, list | tuple) and not value:
        raise wrong("is empty", "declare at least one")
    return value


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise wrong(f"{value!r} is not a duration with its unit", f"write {DURATION_RULE}")
    try:
        return parse_duration(value)
    except ValueError:
        raise wrong(f"{value!r} is not a duration", f"write {DURATION_RULE}") from None


def _tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in tags.items():
        if not naming.is_tag(name, value):
            raise wrong(f"the tag {name!r} is not allowed", f"write {naming.TAG_RULE}")
    return tags


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Name = Annotated[str, rule(naming.is_name, naming.NAME_RULE)]
Tags = Annotated[Mapping[str, str], AfterValidator(_tags)]
SubnetId = Annotated[str, rule(naming.is_subnet_id, naming.SUBNET_ID_RULE)]


def _no_placeholder(digest: str) -> str:
    if set(digest) == {"0"}:
        raise wrong(
            "is a placeholder, and a file has no such hash",
            "have `millpond bundle pin` write the entry: it asks the file's publisher",
        )
    return digest


class PinnedFile(Section):
    """A file that the program mirrors into the stack's own storage, where nodes fetch it by its hash.

    It is at `url`, or is `file` on the machine that deploys; where `size` is given, its bytes are counted too.
    """

    url: Annotated[str, rule(lambda text: text.startswith("https://"), "an https:// address")] | None = Field(
        None, examples=["https://www.python.org/ftp/python/3.14.7/python-3.14.7-embed-amd64.zip"]
    )
    file: str | None = Field(None, examples=["python-3.14.7-embed-amd64.zip"])
    sha256: Annotated[
        str, rule(naming.is_sha256, "64 lower-case hexadecimal digits"), AfterValidator(_no_placeholder)
    ] = Field(examples=["(64 digits)"])
    size: int | None = Field(None, gt=0, examples=[12673227])

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise wrong("says where the file is in no way, or in two", "write url, or file with a path on this machine")
        return self

    @property
    def source(self) -> str:
        """Where it is: an address, or a path on the machine that deploys."""
        return self.url or self.file or ""
