"""The filters of listings of resources: comparisons joined by `and` and `or`."""

import re
from collections.abc import Callable
from typing import Any

from infra.local.arm.errors import ArmError, invalid

Json = dict[str, Any]
Test = Callable[[Json], bool]

_COMPARISON = re.compile(r"(?P<name>[A-Za-z/]+)\s+(?P<word>eq|ne)\s+'(?P<value>(?:[^']|'')*)'", re.IGNORECASE)
_SUBSTRING = re.compile(r"substringof\('(?P<value>(?:[^']|'')*)',\s*(?P<name>[A-Za-z]+)\)", re.IGNORECASE)
_STARTS = re.compile(r"startswith\((?P<name>[A-Za-z]+),\s*'(?P<value>(?:[^']|'')*)'\)", re.IGNORECASE)
_WORD = re.compile(r"\s*(and|or|\(|\))\s*", re.IGNORECASE)


def compile_filter(text: str) -> Test:
    """Return a test of what a listing shows; without a filter everything passes."""
    if not text.strip():
        return lambda _: True
    reader = _Reader(text)
    test = reader.either()
    if reader.rest():
        raise reader.wrong()
    return test


class _Reader:
    """Reads one filter from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def rest(self) -> str:
        """Return what is not read yet."""
        return self._text[self._place :].strip()

    def wrong(self) -> ArmError:
        """Return the refusal of the filter."""
        message = f"Invalid $filter '{self._text}' specified in the query string, at '{self.rest()}'."
        return invalid(message, "$filter", "InvalidFilterInQueryString")

    def either(self) -> Test:
        """Read alternatives."""
        tests = [self._both()]
        while self._word("or"):
            tests.append(self._both())
        return lambda found: any(test(found) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._word("and"):
            tests.append(self._one())
        if tests and any(hasattr(test, "tag") for test in tests):
            return _with_tags(tests)
        return lambda found: all(test(found) for test in tests)

    def _one(self) -> Test:
        if self._word("("):
            test = self.either()
            if not self._word(")"):
                raise self.wrong()
            return test
        while self._text[self._place : self._place + 1].isspace():
            self._place += 1
        for pattern, kind in ((_COMPARISON, "eq"), (_SUBSTRING, "in"), (_STARTS, "starts")):
            if found := pattern.match(self._text, self._place):
                self._place = found.end()
                word = found["word"].lower() if kind == "eq" else kind
                return _comparison(found["name"].lower(), word, found["value"].replace("''", "'"))
        raise self.wrong()

    def _word(self, wanted: str) -> bool:
        found = _WORD.match(self._text, self._place)
        if found is None or found[1].lower() != wanted:
            return False
        self._place = found.end()
        return True


class _TagTest:
    """A comparison of a tag's name or value: the two belong together."""

    def __init__(self, part: str, value: str) -> None:
        self.tag = (part, value)

    def __call__(self, found: Json) -> bool:
        """Test one of the two alone."""
        part, value = self.tag
        tags = found.get("tags") or {}
        return any((name if part == "tagname" else content).lower() == value.lower() for name, content in tags.items())


def _with_tags(tests: list[Test]) -> Test:
    """Join tests of which some are of tags: name and value must be those of one tag."""
    wanted = dict(test.tag for test in tests if isinstance(test, _TagTest))
    others = [test for test in tests if not isinstance(test, _TagTest)]

    def test(found: Json) -> bool:
        matching = any(
            wanted.get("tagname", name).lower() == name.lower() and wanted.get("tagvalue", value) == value
            for name, value in (found.get("tags") or {}).items()
        )
        return matching and all(other(found) for other in others)

    return test


def _comparison(name: str, word: str, value: str) -> Test:
    if name in {"tagname", "tagvalue"}:
        return _TagTest(name, value)

    def read(found: Json) -> str:
        if name == "resourcegroup":
            return str(found.get("id", "")).split("/")[4] if "/resourcegroups/" in found["id"].lower() else ""
        if name == "resourcetype":
            return str(found.get("type", ""))
        if name.startswith("plan/"):
            return str((found.get("plan") or {}).get(name.removeprefix("plan/"), ""))
        return str(found.get(name, ""))

    wanted = value.lower()
    tests: dict[str, Callable[[str], bool]] = {
        "eq": lambda text: text == wanted,
        "ne": lambda text: text != wanted,
        "in": lambda text: wanted in text,
        "starts": lambda text: text.startswith(wanted),
    }
    return lambda found: tests[word](read(found).lower())
