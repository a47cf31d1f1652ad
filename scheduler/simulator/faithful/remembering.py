"""A store that need not look twice at what nobody has written: the same answers as without, sooner.

Which tables a question reads and a change writes is seen from the statements themselves as they are carried out, so
nothing has to be said of any method but its name.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, event
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.database_errors import translated

# Methods of the stores that only read, and are given nothing that differs from look to look.
OF_FLEET = ("pools", "limits", "known_pools", "groups", "nodes", "samples", "capacities", "histories")
OF_DISPATCH = ("has_work", "demand", "stops", "ready_steps", "loads", "unsent", "open_messages")
OF_DELETIONS = ("to_clear",)


class WatchedDatabase(Database):
    """A database in memory that counts how often each of its tables was written.

    One thread uses it, so one connection does, which is not taken and given back each time.
    """

    def __init__(self) -> None:
        super().__init__("sqlite://")
        self._written: Counter[str] = Counter()
        self._read: set[str] = set()
        self._named: dict[object, frozenset[str]] = {}
        event.listen(self._engine, "after_cursor_execute", self._executed)
        self._connection = self._engine.connect()

    def close(self) -> None:
        """Close the connection, and with it the database."""
        self._connection.close()
        super().close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give the one connection, in a transaction."""
        with translated(self._what), self._connection.begin():
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self.read() as connection:
            yield connection

    def remember(self, store: object, methods: Iterable[str]) -> None:
        """Have methods of a store of this database give what they gave before, while that must still be right."""
        for name in methods:
            setattr(store, name, self.remembering(getattr(store, name)))

    def remembering(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Give a question that need not be asked again before a table that it reads was written."""
        known: dict[Hashable, tuple[Mapping[str, int], Any]] = {}

        def answer(*given: Hashable) -> Any:
            if given in known:
                versions, found = known[given]
                if all(self._written[table] == version for table, version in versions.items()):
                    return found
            self._read = set()
            found = read(*given)
            known[given] = {table: self._written[table] for table in self._read}, found
            return found

        return answer

    def _executed(
        self,
        _connection: Connection,
        _cursor: DBAPICursor,
        _statement: str,
        _parameters: object,
        context: ExecutionContext | None,
        _many: bool,
    ) -> None:
        compiled = getattr(context, "compiled", None)
        statement = getattr(compiled, "statement", None)
        if statement is None:
            return
        if statement.is_dml:
            self._written[statement.table.name] += 1
            return
        if compiled not in self._named:
            self._named[compiled] = frozenset(_tables(statement))
        self._read |= self._named[compiled]


def _tables(statement: ClauseElement) -> Iterable[str]:
    """Give the names of the tables that a statement reads, in whatever part of it."""
    for part in visitors.iterate(statement):
        table = part.table if isinstance(part, ColumnClause) else part
        if isinstance(table, Table):
            yield table.name
