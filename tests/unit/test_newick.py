"""Newick notation: names of any characters, trees of other programs, and what is refused."""

import pytest

from refatlas.errors import InputError
from refatlas.transfer.newick import read_newick, write_newick

NAMES = ["", "it's (T, NK); [x]", "CD8: α", "naïve_1", "B"]


PARENTS = [-1, 0, 1, 1, 0]


def test_newick_keeps_names_of_any_characters():
    text = write_newick(PARENTS, NAMES)
    assert text == "(('CD8: α','naïve_1')'it''s (T, NK); [x]','B');\n"
    assert read_newick(text, "here") == (PARENTS, NAMES)


def test_newick_of_other_programs():
    parents, names = read_newick("[made by x] ( (CD14 Mono:0.1, CD16_Mono:2e-1 )Mono:1 ,\n B cells ) root;", "here")
    assert (parents, names) == ([-1, 0, 1, 1, 0], ["root", "Mono", "CD14 Mono", "CD16_Mono", "B cells"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a,b", "not closed"),
        ("(a,b))c;", "was not opened"),
        ("a,b;", "several roots"),
        ("", "no leaf"),
        ("(a,'b);", "cannot read"),
        ("a;", "no leaf"),
    ],
)
def test_a_text_that_is_not_a_tree_is_refused(text, expected):
    with pytest.raises(InputError, match=f"tree.nwk is not a Newick tree: .*{expected}.* An example of a tree"):
        read_newick(text, "tree.nwk")
