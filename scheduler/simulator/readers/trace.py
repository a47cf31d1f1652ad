"""A workload from any file that is understood, told apart by its content."""

from pathlib import Path

from scheduler.simulator.readers.history import is_history, read_history
from scheduler.simulator.readers.reading import Reading, name_of, text_of
from scheduler.simulator.readers.swf import read_swf
from scheduler.simulator.readers.table import read_table
from scheduler.simulator.readers.wfformat import read_wfformat


def read_trace(path: Path) -> Reading:
    """Read a workload: a history, WfFormat, SWF (by its name or its comments), else a table."""
    text = text_of(path)
    name = name_of(path)
    beginning = text.lstrip()[:1]
    if is_history(text):
        return read_history(name, text)
    if beginning == "{":
        return read_wfformat(name, text)
    if ".swf" in path.name.lower() or beginning == ";":
        return read_swf(name, text)
    return read_table(name, text)
