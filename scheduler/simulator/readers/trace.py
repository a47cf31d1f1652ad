"""A workload from any file that is understood, told apart by its content."""

from dataclasses import replace
from pathlib import Path

from scheduler.simulator.readers.history import is_history, read_history
from scheduler.simulator.readers.reading import Reading, name_of, text_of
from scheduler.simulator.readers.swf import is_swf, read_swf
from scheduler.simulator.readers.table import read_table
from scheduler.simulator.readers.wfformat import read_wfformat


def read_trace(path: Path) -> Reading:
    """Read a workload: a history, WfFormat, SWF (by its name, its comments or its 18 numbers), else a table."""
    reading = _read(path.name, text_of(path))
    return replace(reading, workload=replace(reading.workload, name=name_of(path)))


def _read(name: str, text: str) -> Reading:
    beginning = text.lstrip()[:1]
    if is_history(text):
        return read_history(name, text)
    if beginning in {"{", "["}:
        return read_wfformat(name, text)
    if ".swf" in name.lower() or beginning == ";" or is_swf(text):
        return read_swf(name, text)
    return read_table(name, text)
