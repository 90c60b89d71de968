"""The classifier of cells in a latent space that follows a tree of labels.

scHPL (Michielsen 2021), treeArches (Michielsen 2023).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path
from refatlas.transfer.label_tree import REJECTED, LabelTree
from refatlas.transfer.schpl_trees import entry_code, to_schpl

if TYPE_CHECKING:
    from sklearn.neighbors import KNeighborsClassifier


@dataclass
class Rejection:
    """Limits beyond which a cell is not taken for any label of the tree.

    Attributes:
        min_share: a cell moves down to a child only if the child's share of weighted kNN is larger.
        distance: percentile of the training cells' distances to their neighbours; a cell with a
            larger distance is rejected. None switches the check off.
        reconstruction: the same of the error of reconstruction from principal components.
    """

    min_share: float = 0.5
    distance: float | None = 99.0
    reconstruction: float | None = 99.5


@dataclass
class Decision:
    """Classification of cells by a tree.

    Attributes:
        node: node at which each cell stops, shape (n_cells,).
        reason: why it stops above a leaf: "" at a leaf; "votes" if no child's share was large
            enough; "distance" or "reconstruction" for a rejected cell.
        reached: probability of each node, shape (n_cells, n_nodes): the product of the shares on
            the path to it.
    """

    node: np.ndarray
    reason: np.ndarray
    reached: np.ndarray

    def rejected(self) -> np.ndarray:
        """Return whether each cell is rejected."""
        return np.isin(self.reason, ["distance", "reconstruction"])


@dataclass
class TreeClassifier:
    """scHPL's classifier: at each inner node, kNN among the cells below it, weighted by 1 / distance.

    It is trained by scHPL. Prediction needs arrays only, so that nothing is unpickled, and all
    cells are classified at once, 30 times as fast as in scHPL's loop. scHPL's support vector
    machines give distances to a boundary rather than probabilities, and are therefore not offered.

    Attributes:
        tree: of the labels.
        x: latent space of the training cells, shape (n_cells, n_latent).
        entries: entry of each training cell.
        k: number of neighbours at each node, 0 at a leaf.
        max_distance: limit of the rejection by distance.
        max_error: limit of the rejection by reconstruction.
        mean: mean of the principal components, shape (n_latent,).
        components: principal components of the reconstruction; without rows if it is off.
        n_neighbors: requested number of neighbours; labels with fewer cells lower it.
        rejection: as requested.
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
    _classifiers: dict[int, "KNeighborsClassifier"] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls, tree: LabelTree, x: np.ndarray, entries: np.ndarray, n_neighbors: int, rejection: Rejection
    ) -> "TreeClassifier":
        """Return a classifier trained by scHPL.

        Args:
            tree: of the labels.
            x: latent space of the training cells, shape (n_cells, n_latent).
            entries: entry of each training cell. Those that are not in the tree affect the limits
                of rejection only, as in scHPL.
            n_neighbors: number of neighbours.
            rejection: limits of rejection.
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

    def classifier(self, node: int) -> "KNeighborsClassifier":
        """Return the kNN classifier of an inner node; its classes are the node's children."""
        from sklearn.neighbors import KNeighborsClassifier

        if node not in self._classifiers:
            child_of = {n: child for child in self.tree.children(node) for n in self.tree.below(child)}
            # A node with a single child is distinguished from it by its own cells only. scHPL counts
            # these by unit, with the same result.
            own = {node: node} if len(self.tree.children(node)) == 1 else {}
            classes = np.array([(child_of | own).get(n, -1) for n in self.tree.nodes])[self.entries]
            member = classes >= 0
            self._classifiers[node] = KNeighborsClassifier(int(self.k[node]), weights="distance").fit(
                self.x[member], classes[member]
            )
        return self._classifiers[node]

    def decide(self, x: np.ndarray) -> Decision:
        """Return the node at which each cell stops, as scHPL's predict_labels, and the probability of each node.

        Args:
            x: latent space, shape (n_cells, n_latent).
        """
        reached = np.zeros((len(x), len(self.tree.parents)))
        reached[:, 0] = 1
        reason = self._rejections(x)
        node, rows = np.zeros(len(x), dtype=int), np.arange(len(x))
        for parent in (n for n, k in enumerate(self.k) if k):
            classifier = self.classifier(parent)
            classes, shares = classifier.classes_, np.asarray(classifier.predict_proba(x))
            reached[:, classes[classes != parent]] = reached[:, [parent]] * shares[:, classes != parent]
            best = shares.argmax(axis=1)
            down = (node == parent) & (reason == "") & (shares[rows, best] > self.rejection.min_share)
            node[down] = classes[best[down]]
        reason[(reason == "") & ~np.isin(node, self.tree.leaves())] = "votes"
        return Decision(node, reason, reached)

    def _rejections(self, x: np.ndarray) -> np.ndarray:
        """Return why each cell is rejected: "distance", "reconstruction", or "" if it is not."""
        distances, _ = self.classifier(0).kneighbors(x)
        reason = np.where(distances.mean(axis=1) > self.max_distance, "distance", "").astype("U14")
        centred = x - self.mean
        error = np.linalg.norm(centred - centred @ self.components.T @ self.components, axis=1)
        reason[error > self.max_error] = "reconstruction"
        return reason

    def spread(self) -> tuple[np.ndarray, list[str]]:
        """Return the share of each label in each node, shape (n_nodes, n_labels), and the labels.

        The labels are those at leaves; rows sum to 1. In a leaf, the shares are those of its cells;
        those in an inner node are the mean over its leaves.
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
        """Return the probability of each label at a leaf, shape (n_cells, n_labels), and the labels.

        Rows sum to 1. The probability that stops at an inner node is spread over its leaves. A
        rejected cell keeps of this only the share of training cells beyond the limit; the rest is
        spread evenly over all labels, so that their order does not change.

        Args:
            found: from `decide`.
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

    def save(self, path: str | Path) -> None:
        """Write the classifier to an npz file, atomically, without training cells that are in no node."""
        kept = np.array(self.tree.nodes)[self.entries] >= 0
        tree: dict[str, Any] = {name: np.array(values) for name, values in vars(self.tree).items()}
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
    def load(cls, path: str | Path) -> "TreeClassifier":
        """Return the classifier that `save` wrote, without unpickling."""
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
    """Return tree.parquet: the node at which each cell stops, its probability, and the reason.

    The node is a leaf, an inner node, "root" or "rejected". The probability of a rejected cell is
    missing.

    Args:
        cells: names of the cells.
        names: of the tree's nodes.
        found: from `TreeClassifier.decide`.
    """
    rejected = found.rejected()
    node = np.where(rejected, REJECTED, np.array(names, dtype=object)[found.node])
    probability = np.where(rejected, np.nan, found.reached[np.arange(len(cells)), found.node])
    return pd.DataFrame(
        {"node": node, "probability": probability, "reason": found.reason}, index=pd.Index(cells, name="cell")
    )
