"""Trees of names in Newick notation. Light to import, because Snakemake imports it at every start.

A tree is two lists: the parent of each node, and the name of each node. Node 0 is the root, whose
parent is -1. Parents precede their children.
"""

import re
import unicodedata

from refatlas.errors import InputError

# A branch length or a comment; a sign; a quoted name; a plain name.
TOKEN = re.compile(r"\s*(?::\s*[^\s(),;]+|\[[^\]]*\]|([(),;])|('(?:[^']|'')*')|([^\s(),;:'\[\]][^(),;:'\[\]]*))")
MAX_DEPTH = 100
EXAMPLE = "(('CD14 Mono','CD16 Mono')Monocytes,'B cells');"


def write_newick(parents: list[int], names: list[str]) -> str:
    """Return a tree in Newick notation.

    All names are in single quotes, and a quote in a name is doubled. An empty name is omitted.
    """

    def text(node: int) -> str:
        children = ",".join(text(child) for child, parent in enumerate(parents) if parent == node)
        name = "'" + names[node].replace("'", "''") + "'" if names[node] else ""
        return (f"({children})" if children else "") + name

    return text(0) + ";\n"


def read_newick(text: str, where: str) -> tuple[list[int], list[str]]:
    """Return the parents and names of a tree, in preorder.

    Branch lengths and comments in [] are skipped; underscores are not replaced by spaces.

    Args:
        text: in Newick notation.
        where: name of the file for messages.

    Raises:
        InputError: the text is not a Newick tree.
    """
    parents, names, node, depth = [-1], [""], 0, 0
    for sign, name in _tokens(text, where):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth > MAX_DEPTH:
            raise _refused(where, f"brackets are nested more than {MAX_DEPTH} deep")
        if sign in ("(", ","):
            above = node if sign == "(" else parents[node]
            if above < 0:
                raise _refused(where, "it has several roots; enclose them in brackets")
            parents.append(above)
            names.append("")
            node = len(parents) - 1
        elif sign == ")":
            node = parents[node]
            if node < 0:
                raise _refused(where, "a bracket is closed that was not opened")
        else:
            names[node] = unicodedata.normalize("NFC", name)
    if node != 0 or len(parents) == 1:
        raise _refused(where, "a bracket is not closed" if node else "it has no leaf")
    return parents, names


def _refused(where: str, reason: str) -> InputError:
    return InputError(f"{where} is not a Newick tree: {reason}. An example of a tree: {EXAMPLE}")


def _tokens(text: str, where: str) -> list[tuple[str, str]]:
    """Return the signs and names up to the first semicolon, as pairs (sign, name) of which one is empty."""
    found, place, text = [], 0, text.strip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise _refused(
                where, f"cannot read {text[place : place + 20]!r}; put names with special characters in single quotes"
            )
        place = match.end()
        sign, quoted, plain = match.groups()
        if sign == ";":
            break
        if sign or quoted or plain:
            found.append((sign or "", quoted[1:-1].replace("''", "'") if quoted else (plain or "").strip()))
    return found
