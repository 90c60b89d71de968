"""Trees of labels as trees of scHPL (Michielsen 2021), and back."""

from typing import Any

from refatlas.transfer.label_tree import ROOT, LabelTree


def entry_code(entry: int) -> str:
    """Return the name of an entry in scHPL's trees.

    Codes have the same length and the same order as the entries, whatever characters labels have.
    """
    return f"e{entry:07d}"


def to_schpl(tree: LabelTree, root: str = ROOT) -> list[Any]:
    """Return a tree as scHPL's: a list of its root.

    Nodes are named by the codes of their entries, those with a title by their number first.

    Args:
        tree: of labels.
        root: name of the root.
    """
    from scHPL import TreeNode

    names = [
        [f"n{node:07d}"] * bool(title) + [entry_code(e) for e, at in enumerate(tree.nodes) if at == node]
        for node, title in enumerate(tree.titles)
    ]
    nodes = [TreeNode(name) for name in [[root, *names[0]], *names[1:]]]
    for child, parent in enumerate(tree.parents):
        if parent >= 0:
            nodes[parent].add_descendant(nodes[child])
    return [nodes[0]]


def from_schpl(schpl: list[Any], before: LabelTree) -> LabelTree:
    """Return a tree of scHPL as a tree of labels.

    In rare cases scHPL puts an entry into two nodes. It is then kept where scHPL would train it: in
    the first node of a postorder. A node that is left empty is removed, and its children move to
    its parent.

    Args:
        schpl: list of the root.
        before: tree with the same entries and titles.
    """
    titles = {
        id(node): before.titles[int(node.name[0][1:])] for node in schpl[0].walk() if node.name[0].startswith("n")
    }
    at: dict[int, int] = {}
    for node in schpl[0].walk(mode="postorder"):
        for name in node.name:
            if name.startswith("e"):
                at.setdefault(int(name[1:]), id(node))
    filled = set(at.values())
    kept = [node for node in schpl[0].walk() if node.ancestor is None or id(node) in filled or titles.get(id(node))]
    number = {id(node): i for i, node in enumerate(kept)}

    def above(node: Any) -> int:
        parent = node.ancestor
        return -1 if parent is None else number[id(parent)] if id(parent) in number else above(parent)

    nodes = [number[at[entry]] if entry in at else -1 for entry in range(len(before.labels))]
    return LabelTree(
        [above(node) for node in kept], [titles.get(id(node), "") for node in kept], before.units, before.labels, nodes
    )
