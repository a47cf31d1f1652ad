"""What is wrong with a job file, each with its line."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from scheduler.errors import InvalidRequestError


class Findings:
    """Collects what is wrong, and tells all of it at once."""

    def __init__(self, path: Path, tree: yaml.Node | None) -> None:
        self._path = path
        self._tree = tree
        self._lines: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, where: Sequence[str | int], message: str) -> None:
        """Add what is wrong at a place, which is named by the keys and positions that lead to it."""
        line = _line(self._tree, where)
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        self._lines.append((line, f"{self._path}:{line}: {name}: {message}" if name else f"{self._path}: {message}"))

    def error(self) -> InvalidRequestError:
        """Make the error that tells all, in the order of lines."""
        found = [text for _, text in sorted(self._lines, key=lambda pair: pair[0])]
        heading = "1 thing is" if len(found) == 1 else f"{len(found)} things are"
        return InvalidRequestError("\n".join([f"{heading} wrong with the job:", *(f"  {text}" for text in found)]))


def _line(node: yaml.Node | None, where: Sequence[str | int]) -> int:
    """Line of the innermost part of the YAML tree that `where` leads to."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in where:
        following = None
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if pair is not None:
                line, following = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            following = node.value[part]
            line = following.start_mark.line + 1
        if following is None:
            return line
        node = following
    return line
