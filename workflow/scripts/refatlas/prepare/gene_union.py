"""The genes of several files as one table, and how much of each file the others share."""

import numpy as np
import pandas as pd

from refatlas.prepare.gene_names import SPECIES_PREFIX, folded, species_prefix, species_words, symbol_style

# Files whose ids are of two species are of one, if their symbols are as alike as this.
MIN_SHARED_SYMBOLS = 0.5
STYLE = {"ENSG": "human", "ENSMUSG": "mouse", "ENSRNOG": "mouse"}


def united_ids(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return every id with the symbol that most files give it, of as many the first.

    A file with the symbol and no id for it counts, too: it is matched by this symbol alone.
    """
    named = pd.concat([t.loc[t["gene_id"].notna(), ["gene_id", "symbol"]].drop_duplicates() for t in tables]).dropna()
    alone = pd.concat([t.loc[t["gene_id"].isna(), "symbol"].dropna().drop_duplicates() for t in tables]).value_counts()
    with_id = named.groupby(["gene_id", "symbol"])["symbol"].transform("size")
    named["n_files"] = with_id + named["symbol"].map(alone).fillna(0)
    named = named.sort_values("n_files", ascending=False, kind="stable").drop_duplicates("gene_id")
    ids = pd.concat([t["gene_id"].dropna() for t in tables]).drop_duplicates()
    symbols = ids.map(named.set_index("gene_id")["symbol"]).astype(object)
    united = pd.DataFrame({"gene_id": ids.to_numpy(), "symbol": symbols.where(symbols.notna(), None).to_numpy()})
    return united.astype(object).set_index(pd.Index(ids.to_numpy(), name="gene", dtype=object))


def without_copies(genes: pd.DataFrame) -> pd.DataFrame:
    """Return genes without the copies of the Y chromosome, whose symbol means the gene of the X chromosome.

    Args:
        genes: with gene_id, as ENSG00000182378_PAR_Y.
    """
    return genes[~genes["gene_id"].fillna("").astype(str).str.endswith("_PAR_Y")]


def renumbered(united: pd.DataFrame, tables: list[pd.DataFrame]) -> list[str]:
    """Return ids to leave out, because their symbol is a gene of another id in other files.

    No file may have two ids of the symbol, and all that have an id must give it the same symbol.
    """
    named = without_copies(united[united["symbol"].notna()])
    shared = named[named["symbol"].duplicated(keep=False)]
    if len(tables) < 2 or shared.empty:
        return []
    uses = pd.concat(
        [t.loc[t["gene_id"].isin(shared.index), ["gene_id", "symbol"]].assign(file=i) for i, t in enumerate(tables)]
    )
    uses = uses.drop_duplicates()
    uses["group"] = uses["gene_id"].map(shared["symbol"])
    uses["species"] = uses["gene_id"].str.extract(SPECIES_PREFIX, expand=False).fillna("")
    is_one = uses["symbol"].eq(uses["group"]).groupby(uses["group"]).all()
    by_symbol = uses.groupby("group")["species"]
    is_one &= by_symbol.min() == by_symbol.max()
    is_one &= uses.groupby(["group", "file"])["gene_id"].nunique().groupby("group").max() == 1
    merged = shared[shared["symbol"].map(is_one).astype(bool)]
    n_files = merged["gene_id"].map(uses["gene_id"].value_counts())
    kept = n_files.groupby(merged["symbol"], sort=False).idxmax()
    return list(merged.index[~merged.index.isin(kept)])


def respelled(genes: pd.DataFrame, tables: list[pd.DataFrame]) -> list[str]:
    """Return symbols without an id to leave out, because another spelling stands for the same gene."""
    symbols = genes["symbol"].dropna()
    letters = folded(symbols.astype(str))
    alike = letters[letters.duplicated(keep=False) & (letters.str.strip(".") != "")]
    if len(tables) < 2 or alike.empty or genes.loc[alike.index, "gene_id"].notna().all():
        return []
    n_files = pd.concat(
        [
            t["symbol"][t["symbol"].isin(symbols[alike.index])].drop_duplicates().to_frame().assign(file=i)
            for i, t in enumerate(tables)
        ]
    )
    n_files["letters"] = folded(n_files["symbol"].astype(str))
    is_one = n_files.groupby(["letters", "file"])["symbol"].nunique().groupby("letters").max() == 1
    has_id = genes.loc[alike.index, "gene_id"].notna()
    is_one &= has_id.groupby(alike).sum().reindex(is_one.index).fillna(0) <= 1
    merged = alike[alike.map(is_one).fillna(False).astype(bool)]
    return list(merged.index[merged.duplicated() & genes.loc[merged.index, "gene_id"].isna()])


def main_species(tables: list[pd.DataFrame]) -> str | None:
    """Return the species of most files' ids; of as many, the one whose symbols look so, or human.

    Args:
        tables: of `gene_table`.
    """
    names = [name for t in tables if (name := species_prefix(t["gene_id"]))]
    if len(set(names)) < 2:
        return names[0] if names else None
    found = [(species_prefix(t["gene_id"]), symbol_style(t["symbol"])) for t in tables]
    fits = {name: any(n == name and STYLE.get(name) == style for n, style in found) for name in names}
    return max(dict.fromkeys(names), key=lambda name: (names.count(name), fits[name], name == "ENSG"), default=None)


def without_foreign_ids(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return tables without ids of another species than the others', where the symbols are the others'.

    Such ids are those of orthologs; the genes are then matched by symbol.
    """
    main, found = main_species(tables), [species_prefix(t["gene_id"]) for t in tables]
    if len({name for name in found if name}) < 2:
        return tables
    known = set(
        pd.concat([t["symbol"] for t, name in zip(tables, found, strict=True) if name in (main, None)]).dropna()
    )
    return [
        t.assign(gene_id=None) if name not in (main, None) and _share(t["symbol"], known) >= MIN_SHARED_SYMBOLS else t
        for t, name in zip(tables, found, strict=True)
    ]


def _share(symbols: pd.Series, known: set) -> float:
    own = set(symbols.dropna())
    return len(own & known) / max(min(len(own), len(known)), 1)


def union_counts(genes: pd.DataFrame, matches: list[np.ndarray], steps: list[np.ndarray], share: float) -> dict:
    """Return how many genes the files share.

    Args:
        genes: of `merge_genes`, with n_datasets.
        matches, steps: of `match_steps`, for each file.
        share: of the files that a gene must be in, the config's genes.min_dataset_share.

    Returns:
        n_genes, n_in_all, n_in_too_few, and for each file n_genes, n_in_all, by_id, by_symbol,
        by_separators and unmatched.
    """
    in_all = (genes["n_datasets"] == len(matches)).to_numpy()
    files = [
        {
            "n_genes": len(rows),
            "n_in_all": int(in_all[np.unique(rows[rows >= 0])].sum()),
            **{f"by_{step}": int((how == step).sum()) for step in ("id", "symbol", "separators")},
            "unmatched": int((rows < 0).sum()),
        }
        for rows, how in zip(matches, steps, strict=True)
    ]
    too_few = genes["n_datasets"] < np.ceil(share * len(matches) - 1e-9)
    return {"n_genes": len(genes), "n_in_all": int(in_all.sum()), "n_in_too_few": int(too_few.sum()), "files": files}


def union_lines(counts: dict, paths: list[str], tables: list[pd.DataFrame], share: float) -> list[str]:
    """Return what is to be said of united genes, as lines for the screen.

    Args:
        counts: of `union_counts`.
        paths: of the files.
        tables: of `gene_table`.
        share: as of `union_counts`.
    """
    if len(paths) < 2:
        return []
    lines = [
        f"genes: {counts['n_genes']:,} in {len(paths)} datasets together, {counts['n_in_all']:,} in all of them;"
        f" {counts['n_in_too_few']:,} are in fewer than {share:.0%} (genes.min_dataset_share) and are left out"
    ]
    main = main_species(tables)
    for path, table, own, file in zip(paths, tables, without_foreign_ids(tables), counts["files"], strict=True):
        ways = (
            (file["by_id"], "id"),
            (file["by_symbol"], "symbol"),
            (file["by_separators"], "symbol with other separators"),
        )
        found = ", ".join(f"{n:,} by {way}" for n, way in ways if n)
        lost = f"; {file['unmatched']:,} match no gene or several" if file["unmatched"] else ""
        lines.append(f"  {path}: {file['n_in_all']:,} of {file['n_genes']:,} genes are in all datasets; {found}{lost}")
        if own is not table:
            foreign = species_words(str(species_prefix(table["gene_id"])))
            lines.append(
                f"  {path}: its ids are of {foreign}, those of the others of {species_words(str(main))}; its symbols"
                " are theirs, so it is matched by symbol"
            )
    return lines
