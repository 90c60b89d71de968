"""Why the genes of two files do not match, in words for a message."""

import pandas as pd

from refatlas.prepare.gene_aliases import current_symbols
from refatlas.prepare.gene_names import REFSEQ, are_numbers, running_prefix, species_prefix, species_words, symbol_style
from refatlas.prepare.genes import match_genes

# A change of names explains a mismatch if it makes this share of the reference's genes match.
EXPLAINS = 0.3
# What to do about files of two species.
BY_ORTHOLOGS = (
    "To match orthologs, set species and orthologs in the config, and write the species of each file of another one in"
    " the column species of its sheet."
)
# What may stand before or after a symbol.
AFFIXES = (("before", r"^[^_\-|:;. ]+[_\-|:;. ]+"), ("after", r"[_\-|:;. ]+[^_\-|:;. ]+$"))


def mismatch(reference: pd.DataFrame, table: pd.DataFrame, one: str = "the reference", other: str = "the query") -> str:
    """Return why few genes of a file are in a reference, as one sentence, or "" if nothing tells it.

    Args:
        reference: genes that are looked for, with gene_id and symbol.
        table: the file's genes, of `gene_table`.
        one, other: what to call the two.
    """
    reasons = (_no_names, _other_species, _other_capitals, _former_symbols, _affixes)
    sentence = next((words for reason in reasons if (words := reason(reference, table, one, other))), "")
    return sentence[:1].upper() + sentence[1:]


def _other_species(reference: pd.DataFrame, table: pd.DataFrame, one: str, other: str) -> str:
    known, found = species_prefix(reference["gene_id"]), species_prefix(table["gene_id"])
    if known and found and known != found:
        species = f"the ids of {other} are of {species_words(found)}, those of {one} of {species_words(known)}."
        return f"{species} {BY_ORTHOLOGS}"
    styles = [
        {"ENSG": "human", "ENSMUSG": "mouse"}.get(prefix or "") or symbol_style(names["symbol"])
        for prefix, names in ((known, reference), (found, table))
    ]
    if "mouse" in styles and "human" in styles:
        return (
            f"the genes of {other} are named as those of {styles[1]}, those of {one} as those of {styles[0]}."
            f" {BY_ORTHOLOGS}"
        )
    return ""


def _no_names(reference: pd.DataFrame, table: pd.DataFrame, one: str, other: str) -> str:
    for names, who in ((table["symbol"], other), (reference["symbol"], one)):
        text = names.dropna().astype(str)
        if text.empty:
            continue
        if are_numbers(text):
            return f"the genes of {who} are numbers, such as those of NCBI (Entrez): {text.iloc[0]}, not names."
        if running_prefix(text) is not None:
            return f"the genes of {who} are running numbers ({text.iloc[0]}), not names."
        if text.str.fullmatch(REFSEQ).mean() > 0.5:
            return f"the genes of {who} are RefSeq's transcripts ({text.iloc[0]}), not genes."
    return ""


def _other_capitals(reference: pd.DataFrame, table: pd.DataFrame, one: str, other: str) -> str:
    n = _n_more(*(names.assign(symbol=names["symbol"].str.upper()) for names in (reference, table)), reference, table)
    return f"{n} genes of {other} would match if capitals did not differ." if n >= EXPLAINS * len(reference) else ""


def _former_symbols(reference: pd.DataFrame, table: pd.DataFrame, one: str, other: str) -> str:
    n = n_by_former_symbols(reference, table)
    return f"{n} more would match by their former symbols: set genes.previous_symbols." if n else ""


def _affixes(reference: pd.DataFrame, table: pd.DataFrame, one: str, other: str) -> str:
    for names, who, is_reference in ((table, other, False), (reference, one, True)):
        for place, pattern in AFFIXES:
            cut = names.assign(symbol=names["symbol"].str.replace(pattern, "", regex=True), gene_id=None)
            pair = (cut, table) if is_reference else (reference, cut)
            n = _n_more(*pair, reference, table)
            if n >= EXPLAINS * len(reference):
                first = names["symbol"].dropna().iloc[0]
                return f"{n} genes would match without what stands {place} the names of {who} (such as {first})."
    return ""


def _n_more(reference: pd.DataFrame, table: pd.DataFrame, *before: pd.DataFrame) -> int:
    """Return how many more genes of a reference are found after a change of names."""
    now, then = (len({row for row in match_genes(*pair) if row >= 0}) for pair in ((reference, table), before))
    return now - then


def n_by_former_symbols(reference: pd.DataFrame, table: pd.DataFrame) -> int:
    """Return how many more genes of a reference are found if former symbols are replaced in both."""
    changed = [names.assign(symbol=current_symbols(names["symbol"])) for names in (reference, table)]
    return max(_n_more(*changed, reference, table), 0)


def former_symbols_hint(genes: pd.DataFrame, names: list[str], missing: list[str] | None = None) -> str:
    """Return ": N would be found …" if missing genes have another symbol today or had one, else "".

    Args:
        genes: of the reference.
        names: symbols of the other side.
        missing: genes of the reference that are missing; None if the names are.
    """
    wanted = genes if missing is None else genes.loc[missing]
    table = pd.DataFrame({"gene_id": None, "symbol": names}, dtype=object)
    n = n_by_former_symbols(wanted, table) if len(wanted) and len(names) else 0
    return f": {n} more would be found by former symbols (HGNC's table); set genes.previous_symbols" if n else ""
