"""Quoted values come back unchanged from a real shell, or a real grammar reads them as one literal."""

import subprocess

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.quoting import Quoted, only_quoted, quote_bash, quote_powershell

HOSTILE = [
    "'",
    '"',
    "$(reboot)",
    "`reboot`",
    "a\nb",
    "\\",
    "-n",
    "",
    "\u2018\u2019\u201a\u201b",
    "é ✓ 中",
    "!history",
    "~",
    "*",
]
ANY_TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))
POWERSHELL = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), ANY_TEXT), min_size=1, max_size=40))
def test_bash_gives_every_text_back(texts: list[str]) -> None:
    """A real bash prints exactly what was quoted, whatever it is."""
    script = "printf '%s\\0' " + " ".join(quote_bash(text) for text in texts)
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts


@given(st.one_of(st.sampled_from(HOSTILE), ANY_TEXT))
def test_powershell_sees_one_literal(text: str) -> None:
    """No quote that PowerShell knows stands alone inside the literal, so it ends where it should."""
    quoted = quote_powershell(text)
    inner = quoted[1:-1]
    for quote in "'\u2018\u2019\u201a\u201b":
        assert inner.count(quote) == 2 * text.count(quote)
        assert inner.replace(quote * 2, "").count(quote) == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_powershell_grammar_reads_the_literal_whole(text: str) -> None:
    """PowerShell's grammar reads `$x = <quoted>` as an assignment of one string."""
    source = f"$x = {quote_powershell(text)}\n"
    assert not POWERSHELL.parse(source.encode()).root_node.has_error


@pytest.mark.parametrize("quote", [quote_bash, quote_powershell])
def test_what_no_script_can_carry_is_refused(quote: object) -> None:
    """A NUL character and what is neither text nor number are errors."""
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
    for value in (None, True, ["a"], {}):
        with pytest.raises(TypeError):
            quote(value)


def test_only_quoted_values_pass() -> None:
    """The filter's result passes, plain text does not."""
    assert only_quoted(Quoted("'a'")) == "'a'"
    with pytest.raises(TypeError, match="unquoted"):
        only_quoted("a")
