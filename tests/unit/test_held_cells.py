"""Clusters that are followed from the cells that they held when they were named."""

import numpy as np
import pandas as pd
import pytest

from refatlas.annotate.held_cells import SAMPLED, cell_hashes, read_held, require_same_cells
from refatlas.annotate.held_cells import held_cells as held_text
from refatlas.errors import InputError

N = 3000
CELLS = pd.Index([f"a:cell{i}" for i in range(N)])


def held_cells(names) -> str:
    return held_text(cell_hashes(names))


def clusters(codes) -> pd.DataFrame:
    return pd.DataFrame({"1": np.asarray(codes)}, index=CELLS)


def annotation(before: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    rows = [
        {
            "line": 2 + i,
            "resolution": "1",
            "cluster": cluster,
            "labels": (name,) if name else (),
            "exclude": not name,
            "held": held_cells(before.index[before["1"] == int(cluster)]),
        }
        for i, (cluster, name) in enumerate(names.items())
    ]
    return pd.DataFrame(rows)


def test_cells_are_recognised_in_any_order():
    first, again = held_cells(CELLS[:500]), held_cells(CELLS[:500][::-1])
    assert first == again
    assert held_cells(CELLS[:499]).split(":")[1] != first.split(":")[1]
    assert len(read_held(first, "x").sample) == SAMPLED
    assert len(read_held(held_cells(CELLS[:7]), "x").sample) == 7


@pytest.mark.parametrize("text", ["", "12:ab", "5:ab:AAAA", held_cells(CELLS[:200])[:-8]])
def test_damaged_text_is_refused(text):
    with pytest.raises(InputError, match=r"annotation.tsv, line 3: column held is (empty|damaged)"):
        read_held(text, "annotation.tsv, line 3")


def test_unchanged_clusters_keep_their_names():
    before = clusters(np.arange(N) // 1000)
    rows, changes = require_same_cells(annotation(before, {"0": "T", "2": ""}), before, "annotation.tsv", "refuse")
    assert list(rows["cluster"]) == ["0", "2"]
    assert list(changes["change"]) == ["same", "same"]
    assert list(changes["label"]) == ["T", "excluded"]


def test_changed_clusters_are_refused_with_where_their_cells_are():
    before = clusters(np.arange(N) // 1000)
    after = clusters((np.arange(N) // 1000 + 1) % 3)
    with pytest.raises(InputError) as error:
        require_same_cells(annotation(before, {"0": "T", "1": "B"}), after, "annotation.tsv", "refuse")
    assert "2 named clusters no longer contain the same cells" in str(error.value)
    assert "cluster 0 (T, resolution 1): 100% of its cells are now in cluster 1" in str(error.value)


def test_names_follow_the_cells():
    before = clusters(np.arange(N) // 1000)
    # 0 and 1 have changed numbers, and a hundred cells have moved between them; 2 is split in halves.
    moved = np.where(np.arange(N) < 1000, 1, np.where(np.arange(N) < 2000, 0, np.where(np.arange(N) < 2500, 2, 3)))
    moved[950:1000] = 0
    rows, changes = require_same_cells(
        annotation(before, {"0": "T", "1": "B", "2": "NK"}), clusters(moved), "annotation.tsv", "carry"
    )
    assert dict(zip(rows["cluster"], rows["labels"], strict=True)) == {
        "0": ("B",),
        "1": ("T",),
        "2": ("NK",),
        "3": ("NK",),
    }
    assert list(changes["change"]) == ["changed"] * 3
    assert changes["share_of_old"][0] == pytest.approx(0.95, abs=0.05)
    assert changes["share_of_new"][2] == pytest.approx(1.0, abs=0.15)


def test_a_mixture_of_two_names_gets_none():
    before = clusters(np.arange(N) // 1000)
    mixed = np.where(np.arange(N) < 2000, 0, 1)
    rows, _ = require_same_cells(annotation(before, {"0": "T", "1": "B", "2": "NK"}), clusters(mixed), "x", "carry")
    assert dict(zip(rows["cluster"], rows["labels"], strict=True)) == {"1": ("NK",)}


def test_clusters_of_one_name_may_fuse():
    before = clusters(np.arange(N) // 1000)
    fused = np.where(np.arange(N) < 2000, 0, 1)
    rows, _ = require_same_cells(annotation(before, {"0": "T", "1": "T", "2": "NK"}), clusters(fused), "x", "carry")
    assert dict(zip(rows["cluster"], rows["labels"], strict=True)) == {"0": ("T",), "1": ("NK",)}
