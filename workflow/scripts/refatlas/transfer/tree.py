"""A tree of labels, and the classifier of cells in a latent space that follows it (scHPL,
Michielsen 2021; treeArches, Michielsen 2023).

A unit is a dataset or a batch. What a unit calls a label is an entry; a node of the tree holds the
entries of all units that mean the same.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from refatlas.errors import listed
from refatlas.io.atomic import atomic_path

# Between the labels of one node, where units have different names for it.
EQUALS = " = "
ROOT = "root"
# Where a cell stops that is no node.
REJECTED = "rejected"


@dataclass
class LabelTree:
    """A tree whose nodes, in preorder, hold entries. Node 0 is the root, its parent -1.

    Attributes:
        parents: of each node. titles: of nodes that have a name of their own, "" elsewhere.
        units, labels: of each entry. nodes: of each entry, -1 for one that is not in the tree.
    """

    parents: list[int]
    titles: list[str]
    units: list[str]
    labels: list[str]
    nodes: list[int]

    @classmethod
    def flat(cls, units: list[str], labels: list[str], members: list[int]) -> "LabelTree":
        """Return a tree in which each of some entries is a leaf under the root."""
        nodes = np.full(len(labels), -1)
        nodes[members] = np.arange(len(members)) + 1
        return cls([-1] + [0] * len(members), [""] * (len(members) + 1), units, labels, nodes.tolist())

    def children(self, node: int) -> list[int]:
        """Return the nodes under a node."""
        return [child for child, parent in enumerate(self.parents) if parent == node]

    def leaves(self) -> list[int]:
        """Return the nodes without children."""
        inner = set(self.parents)
        return [node for node in range(len(self.parents)) if node not in inner]

    def below(self, node: int) -> list[int]:
        """Return a node and all nodes under it."""
        found = [node]
        for child in range(node + 1, len(self.parents)):
            if self.parents[child] in found:
                found.append(child)
        return found

    def is_flat(self) -> bool:
        """Tell whether all nodes are leaves under the root."""
        return not any(self.parents[1:])

    def names(self) -> list[str]:
        """Return a name for each node: its title, or its labels; where two nodes have the same
        labels, with their units. The root is "root".
        """
        held = [
            sorted({(self.labels[e], self.units[e]) for e, at in enumerate(self.nodes) if at == node})
            for node in range(len(self.parents))
        ]
        names = [
            title or EQUALS.join(dict.fromkeys(label for label, _ in entries))
            for title, entries in zip(self.titles, held, strict=True)
        ]
        twice = {name for name in names[1:] if names[1:].count(name) > 1}
        for node, entries in enumerate(held):
            if names[node] in twice:
                names[node] += f" ({listed(dict.fromkeys(unit for _, unit in entries), 3)})"
            if names[node] in (*names[1:node], ROOT, REJECTED):
                names[node] += f" #{node}"
        return [ROOT, *names[1:]]

    def without_empty_nodes(self, filled: set[int]) -> "LabelTree":
        """Return the tree without the nodes that neither have one of the `filled` entries nor are
        above one that has.
        """
        kept, holding = {0}, {self.nodes[entry] for entry in filled}
        for node in range(1, len(self.parents)):
            if holding & set(self.below(node)):
                kept.add(node)
        number = {node: i for i, node in enumerate(sorted(kept))} | {-1: -1}
        nodes = [number.get(node, -1) if entry in filled else -1 for entry, node in enumerate(self.nodes)]
        return LabelTree(
            [number[self.parents[n]] for n in sorted(kept)],
            [self.titles[n] for n in sorted(kept)],
            self.units,
            self.labels,
            nodes,
        )


def entry_code(entry: int) -> str:
    """Return an entry's name in scHPL's trees: of one length and in the entries' order, whatever
    characters labels have.
    """
    return f"e{entry:07d}"


def to_schpl(tree: LabelTree, root: str = ROOT) -> list:
    """Return a tree as scHPL's, a list of its root; nodes are named by the codes of their entries,
    and those with a title by their number first.
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


def from_schpl(schpl: list, before: LabelTree) -> LabelTree:
    """Return scHPL's tree; `before` knows the entries and titles.

    In rare cases scHPL puts an entry into two nodes. It counts where scHPL would train it, in the
    first of a postorder; a node left with nothing goes, and
    its children come under its parent.
    """
    titles = {
        id(node): before.titles[int(node.name[0][1:])] for node in schpl[0].walk() if node.name[0].startswith("n")
    }
    at, filled = {}, set()
    for node in schpl[0].walk(mode="postorder"):
        for name in node.name:
            if name.startswith("e") and int(name[1:]) not in at:
                at[int(name[1:])] = id(node)
                filled.add(id(node))
    kept = [node for node in schpl[0].walk() if node.ancestor is None or id(node) in filled or titles.get(id(node))]
    number = {id(node): i for i, node in enumerate(kept)}

    def above(node) -> int:
        parent = node.ancestor
        return -1 if parent is None else number[id(parent)] if id(parent) in number else above(parent)

    nodes = [number[at[entry]] if entry in at else -1 for entry in range(len(before.labels))]
    return LabelTree(
        [above(node) for node in kept], [titles.get(id(node), "") for node in kept], before.units, before.labels, nodes
    )


@dataclass
class Rejection:
    """When a cell is not taken for any label of the tree.

    Attributes:
        min_share: a cell goes down to a child only with more than this share of the vote.
        distance, reconstruction: percentiles of the tree's own cells; a cell further from its
            neighbours, or worse described by their principal components, is rejected.
            None switches the check off.
    """

    min_share: float = 0.5
    distance: float | None = 99.0
    reconstruction: float | None = 99.5


@dataclass
class Decision:
    """What a tree says of cells.

    Attributes:
        node: where each cell stops. reason: why it stops above a leaf: "" at a leaf, "votes" (no
            child had enough of them), "distance" or "reconstruction"; the last two are rejections.
        reached: probability of each node, shape (n_cells, n_nodes): the product of the shares of
            the votes on the way to it.
    """

    node: np.ndarray
    reason: np.ndarray
    reached: np.ndarray

    def rejected(self) -> np.ndarray:
        """Return whether each cell is rejected."""
        return np.isin(self.reason, ["distance", "reconstruction"])


@dataclass
class TreeClassifier:
    """scHPL's classifier: at each inner node, the vote of the nearest cells under it, weighted by 1
    / distance.

    scHPL trains it; what prediction needs are arrays, so that no pickle has to be loaded, and all
    cells are classified at once (30 times as fast as scHPL's loop).
    scHPL's two kinds of support vector machines give distances to a boundary, no probabilities, and
    are therefore no source of labels.

    Attributes:
        tree: its labels. x: latent space of its cells, shape (n_cells, n_latent). entries: of its
            cells. k: neighbours that vote at each node, 0 at a leaf.
        max_distance, max_error: limits of the two rejections. mean, components: principal
            components of the reconstruction, without rows if it is off.
        n_neighbors: asked for; fewer vote where a label has fewer cells.
    """

    tree: LabelTree
    x: np.ndarray
    entries: np.ndarray
    k: np.ndarray
    max_distance: float
    max_error: float
    mean: np.ndarray
    components: np.ndarray
    n_neighbors: int
    rejection: Rejection
    _votes: dict = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls, tree: LabelTree, x: np.ndarray, entries: np.ndarray, n_neighbors: int, rejection: Rejection
    ) -> "TreeClassifier":
        """Return a classifier trained by scHPL on cells with their entries; entries that are not in
        the tree count for the limits alone, as they do there.
        """
        from scHPL import train_tree

        schpl = to_schpl(tree)
        has_error = rejection.reconstruction is not None
        codes = np.array([entry_code(entry) for entry in entries])
        train_tree(
            x,
            codes,
            schpl,
            "knn",
            False,
            has_error,
            100 - (rejection.reconstruction or 100),
            n_neighbors,
            True,
            rejection.distance or 100,
        )
        root, (pca, _) = schpl[0], schpl[0].get_pca()
        k = np.array([node.classifier.n_neighbors if node.classifier else 0 for node in root.walk()])
        mean, components = (
            (pca.mean_, pca.components_) if has_error else (np.zeros(x.shape[1]), np.zeros((0, x.shape[1])))
        )
        max_distance = np.inf if rejection.distance is None else float(root.get_maxDist())
        return cls(
            tree,
            x,
            np.asarray(entries),
            k,
            max_distance,
            float(root.get_RE()) if has_error else np.inf,
            mean,
            components,
            n_neighbors,
            rejection,
        )

    def sizes(self) -> list[int]:
        """Return the number of cells at and below each node."""
        own = np.bincount(np.array(self.tree.nodes)[self.entries] + 1, minlength=len(self.tree.parents) + 1)[1:]
        return [int(own[self.tree.below(node)].sum()) for node in range(len(self.tree.parents))]

    def votes(self, node: int):
        """Return the nearest-neighbour classifier of an inner node, whose classes are its children."""
        from sklearn.neighbors import KNeighborsClassifier

        if node not in self._votes:
            child_of = {n: child for child in self.tree.children(node) for n in self.tree.below(child)}
            # A node with one child can only be told from it by its own cells; scHPL counts these
            # apart by unit, which ends at the same node.
            own = {node: node} if len(self.tree.children(node)) == 1 else {}
            classes = np.array([(child_of | own).get(n, -1) for n in self.tree.nodes])[self.entries]
            member = classes >= 0
            self._votes[node] = KNeighborsClassifier(int(self.k[node]), weights="distance").fit(
                self.x[member], classes[member]
            )
        return self._votes[node]

    def decide(self, x: np.ndarray) -> Decision:
        """Return where cells of a latent space of shape (n_cells, n_latent) stop, as scHPL's
        predict_labels, and the probability of every node.
        """
        reached = np.zeros((len(x), len(self.tree.parents)))
        reached[:, 0] = 1
        reason = self._rejections(x)
        node, rows = np.zeros(len(x), dtype=int), np.arange(len(x))
        for parent in (n for n, k in enumerate(self.k) if k):
            classes, shares = self.votes(parent).classes_, self.votes(parent).predict_proba(x)
            reached[:, classes[classes != parent]] = reached[:, [parent]] * shares[:, classes != parent]
            best = shares.argmax(axis=1)
            down = (node == parent) & (reason == "") & (shares[rows, best] > self.rejection.min_share)
            node[down] = classes[best[down]]
        reason[(reason == "") & ~np.isin(node, self.tree.leaves())] = "votes"
        return Decision(node, reason, reached)

    def _rejections(self, x: np.ndarray) -> np.ndarray:
        distances, _ = self.votes(0).kneighbors(x)
        reason = np.where(distances.mean(axis=1) > self.max_distance, "distance", "").astype("U14")
        centred = x - self.mean
        error = np.linalg.norm(centred - centred @ self.components.T @ self.components, axis=1)
        reason[error > self.max_error] = "reconstruction"
        return reason

    def spread(self) -> tuple[np.ndarray, list[str]]:
        """Return what share each label has of each node, shape (n_nodes, n_labels), rows summing to
        1, and the labels: those that stand at leaves.

        At a leaf these are its cells' shares; an inner node is spread evenly over its leaves.
        """
        leaves, labels = self.tree.leaves(), np.array(self.tree.labels, dtype=object)
        at = np.array(self.tree.nodes)[self.entries]
        counts = pd.crosstab(at, labels[self.entries]).reindex(leaves)
        counts = counts.loc[:, counts.sum() > 0]
        shares = counts.div(counts.sum(axis=1), axis=0)
        rows = [
            shares.loc[[n for n in self.tree.below(node) if n in leaves]].mean().to_numpy()
            for node in range(len(self.tree.parents))
        ]
        return np.array(rows), list(counts.columns)

    def label_probabilities(self, found: Decision) -> tuple[np.ndarray, list[str]]:
        """Return the probability of each label that stands at a leaf, shape (n_cells, n_labels),
        rows summing to 1, and the labels.

        A node's probability passes to its children by their votes; what stays at an inner node is
        spread over its leaves. A rejected cell keeps as much of this
        as the share of the tree's own cells that are beyond the limit, at most; the rest is spread
        evenly over all labels, so that their order stays.
        """
        shares, names = self.spread()
        down = np.zeros_like(found.reached)
        for child, parent in enumerate(self.tree.parents):
            if parent >= 0:
                down[:, parent] += found.reached[:, child]
        p = np.clip(found.reached - down, 0, 1) @ shares
        tails = {"distance": self.rejection.distance, "reconstruction": self.rejection.reconstruction}
        for reason, percentile in tails.items():
            beyond = found.reason == reason
            kept = 1 - (percentile or 100) / 100
            p[beyond] = kept * p[beyond] + (1 - kept) / len(names)
        return p / p.sum(axis=1, keepdims=True), names

    def save(self, path: str) -> None:
        """Write the classifier to one file of arrays, whole or not at all; cells that are in no
        node are left out.
        """
        kept = np.array(self.tree.nodes)[self.entries] >= 0
        tree = {name: np.array(values) for name, values in vars(self.tree).items()}
        limits = [
            self.max_distance,
            self.max_error,
            self.rejection.min_share,
            self.rejection.distance or np.nan,
            self.rejection.reconstruction or np.nan,
        ]
        with atomic_path(path) as part, part.open("wb") as stream:
            np.savez_compressed(
                stream,
                **tree,
                x=self.x[kept],
                entries=self.entries[kept],
                k=self.k,
                mean=self.mean,
                components=self.components,
                n_neighbors=self.n_neighbors,
                limits=limits,
            )

    @classmethod
    def load(cls, path: str) -> "TreeClassifier":
        """Return what `save` wrote; no code is run by loading it."""
        with np.load(path, allow_pickle=False) as arrays:
            tree = LabelTree(*(arrays[name].tolist() for name in ("parents", "titles", "units", "labels", "nodes")))
            max_distance, max_error, min_share, distance, reconstruction = arrays["limits"].tolist()
            rejection = Rejection(
                min_share, *(None if np.isnan(value) else value for value in (distance, reconstruction))
            )
            return cls(
                tree,
                arrays["x"],
                arrays["entries"],
                arrays["k"],
                max_distance,
                max_error,
                arrays["mean"],
                arrays["components"],
                int(arrays["n_neighbors"]),
                rejection,
            )


def node_table(cells: pd.Index, names: list[str], found: Decision) -> pd.DataFrame:
    """Return where each cell stops: node (a leaf, an inner node, "root" or "rejected"), its
    probability (missing for a rejected cell), and the reason.

    Args:
        names: of the tree's nodes.
    """
    rejected = found.rejected()
    node = np.where(rejected, REJECTED, np.array(names, dtype=object)[found.node])
    probability = np.where(rejected, np.nan, found.reached[np.arange(len(cells)), found.node])
    return pd.DataFrame(
        {"node": node, "probability": probability, "reason": found.reason}, index=pd.Index(cells, name="cell")
    )
