"""Quoting for the two shells: the only way a value gets into a script."""


class Quoted(str):
    """Text that is one literal word of its shell; only the functions here make it."""

    __slots__ = ()


def quote_bash(value: object) -> Quoted:
    """Write a value as one single-quoted word of bash, in which nothing has a meaning but the quote itself."""
    return Quoted("'" + _text(value).replace("'", "'\\''") + "'")


# PowerShell ends a single-quoted string at any of these and reads a doubled one as itself
# (about_Quoting_Rules; CharTraits.IsSingleQuote in its tokenizer).
_POWERSHELL_QUOTES = str.maketrans({quote: quote * 2 for quote in "'\u2018\u2019\u201a\u201b"})


def quote_powershell(value: object) -> Quoted:
    """Write a value as one single-quoted literal of PowerShell."""
    return Quoted("'" + _text(value).translate(_POWERSHELL_QUOTES) + "'")


def only_quoted(value: object) -> Quoted:
    """Let quoted values into a template; `TypeError` for any other, so that none is forgotten."""
    if not isinstance(value, Quoted):
        raise TypeError(f"a template writes {value!r} unquoted; put `| quote` behind it")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} cannot be written into a script: expected text or a number")
    text = str(value)
    if "\0" in text:
        raise ValueError(f"{text!r} has a NUL character, which no script can carry")
    return text
