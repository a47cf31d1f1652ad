"""Entry point of plain `pulumi up`; `millpond up` runs the same function."""

from infra.program import program

program()
