"""Which columns of a file's table of genes hold ids and symbols, and what is to be said of them."""

from dataclasses import dataclass, field

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.prepare.gene_names import (
    REFSEQ,
    are_ids,
    are_nameless,
    are_numbers,
    running_prefix,
    species_prefix,
    species_words,
    split_joined,
    symbol_style,
)

# Names of columns of symbols, in small letters, with _ for every separator.
SYMBOL_COLUMNS = (
    "symbol",
    "symbols",
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "feature_names",
    "gene",
    "name",
    "hgnc_symbol",
    "mgi_symbol",
    "gene_short_name",
    "external_gene_name",
    "genename",
    "genesymbol",
    "hgnc",
    "features",
    "feature",
    "genes",
    "gene_id",
    "gene_ids",
    "names",
)
# Columns that name no gene, though every value may be another.
NO_SYMBOLS = ("genome", "chromosome", "chrom", "chr", "seqname", "description", "transcript_id", "interval", "strand")


@dataclass
class NameColumns:
    """Names of a file's genes.

    Attributes:
        columns: text columns by name; "index" holds the genes' own names.
        ids, symbols: names of columns, None where there is none.
        nameless: whether the genes' own names are numbers of rows, and no names.
        notes: on what was taken and why.
    """

    columns: dict[str, pd.Series]
    ids: str | None = None
    symbols: str | None = None
    nameless: bool = False
    notes: list[str] = field(default_factory=list)


def find_names(file: CountFile, gene_key: str | None) -> NameColumns:
    """Return the columns of ids and symbols of a file.

    Args:
        file: with its table of genes.
        gene_key: gene column to match by, or "index"; None to look for ids and symbols everywhere.
            A column of ids leaves symbols to the other columns: they name the genes.

    Raises:
        InputError: the file has no such column, or no names of genes.
    """
    columns = _text_columns(file.genes)
    if gene_key is not None and gene_key not in columns:
        raise InputError(
            f"{file.path}: gene column {gene_key!r} is not in the file; it has {listed(columns)} ('index' means the"
            " genes' names)"
        )
    found = NameColumns(columns, nameless=gene_key != "index" and _is_nameless(columns))
    joined = _split(found, gene_key)
    if gene_key is None:
        found.ids = found.ids or _id_column(columns)
        found.symbols = found.symbols or _symbol_column(found)
    elif not joined:
        found.ids = gene_key if are_ids(columns[gene_key]) else None
        found.symbols = _symbol_column(found) if found.ids else gene_key
    elif found.symbols is None:
        found.symbols = _symbol_column(found)
    if found.ids is None and found.symbols is None:
        raise _no_names(file, columns)
    found.notes += [*_running_notes(found, gene_key), *_species_notes(found)]
    return found


def _text_columns(genes: pd.DataFrame) -> dict[str, pd.Series]:
    columns = {"index": genes.index.to_series().reset_index(drop=True)}
    for name in genes.columns.difference(["index"], sort=False):
        values = genes[name]
        if values.dtype.kind in "OUTS" or isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
            columns[name] = values.astype("object").reset_index(drop=True)
    return {name: values.map(_stripped) for name, values in columns.items()}


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _is_nameless(columns: dict[str, pd.Series]) -> bool:
    """Return whether the index holds numbers; names that count up are ones if there is a column of others."""
    index = columns["index"]
    if are_nameless(index):
        return True
    others = {name: values for name, values in columns.items() if name != "index"}
    return running_prefix(index) is not None and (_id_column(others) or _other_symbols(others)) is not None


def _split(found: NameColumns, gene_key: str | None) -> bool:
    """Split names that hold an id and a symbol, or something else; return whether there are any."""
    name = gene_key or "index"
    parts = split_joined(found.columns[name])
    if parts is None:
        return False
    found.columns, found.ids = found.columns | {f"{name} (ids)": parts[0]}, f"{name} (ids)"
    what = "ids"
    if parts[1].notna().any():
        found.columns[f"{name} (symbols)"] = parts[1]
        found.symbols, what = f"{name} (symbols)", "both id and symbol"
    found.notes.append(f"genes: names such as {found.columns[name].iloc[0]} hold {what}")
    return True


def _id_column(columns: dict[str, pd.Series]) -> str | None:
    """Return the first column of ids; one of the species that the symbols look like comes before others."""
    found = [name for name, values in columns.items() if are_ids(values)]
    if "index" in found or len(found) < 2 or "index" not in columns:
        return found[0] if found else None
    wanted = {"human": "ENSG", "mouse": "ENSMUSG"}.get(symbol_style(columns["index"]) or "")
    return next((name for name in found if species_prefix(columns[name]) == wanted), found[0])


def _symbol_column(found: NameColumns) -> str | None:
    index = found.columns["index"]
    other = _other_symbols({name: values for name, values in found.columns.items() if name != "index"})
    if found.nameless or are_ids(index) or found.ids == "index (ids)":
        return other
    if other is not None and (index.astype(str).str.fullmatch(REFSEQ).mean() > 0.5 or _is_second_column(found)):
        found.notes.append(f"genes: symbols are those of column {other}, not the names {listed(index, 2)}")
        return other
    return "index"


def _is_second_column(found: NameColumns) -> bool:
    """Return whether symbols stand in the second column of a 10x file, beside ids of an unknown kind."""
    symbols = found.columns.get("gene_symbols")
    if symbols is None or are_ids(symbols) or are_nameless(symbols):
        return False
    return bool((symbols.astype(str) == found.columns["index"].astype(str)).mean() < 0.5)


def _other_symbols(columns: dict[str, pd.Series]) -> str | None:
    """Return the column of symbols beside the genes' own names: one of the usual names, or one that looks so."""
    usable = {
        name: values
        for name, values in columns.items()
        if not are_ids(values) and not are_nameless(values) and (values.notna() & (values != "")).mean() > 0.5
    }
    named = {_plain(name): name for name in reversed(usable)}
    usual = [named[name] for name in SYMBOL_COLUMNS if name in named]
    if "gene_symbols" in usable:
        return "gene_symbols"
    return next(iter([*usual, *(name for name in usable if _look_like_symbols(name, usable[name]))]), None)


def _plain(name: object) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in str(name).casefold()).strip("_")


def _look_like_symbols(name: str, values: pd.Series) -> bool:
    text = values.dropna().astype(str)
    return bool(
        _plain(name) not in NO_SYMBOLS
        and text.nunique() > 0.9 * len(values)
        and text.str.fullmatch(r"[A-Za-z][\w.\-@]{0,29}").mean() > 0.9
        and text.str.fullmatch(rf"{REFSEQ}|chr.*|ENS[A-Z]*[TP]\d+.*").mean() < 0.1
        and running_prefix(values) is None
    )


def _no_names(file: CountFile, columns: dict[str, pd.Series]) -> InputError:
    index = columns["index"]
    kind = "numbers of NCBI's genes or of rows" if are_numbers(index) else "running numbers"
    return InputError(
        f"{file.path}: the genes are named {listed(index, 3)}: {kind}, and no column has ids or symbols (columns:"
        f" {listed(columns)}); add a column of ids or symbols and name it as gene_key in the sheet. If all files use"
        " the same numbers for the same genes, set gene_key to index"
    )


def _running_notes(found: NameColumns, gene_key: str | None) -> list[str]:
    index = found.columns["index"]
    # A 10x file of symbols alone has them in both columns.
    is_twice = found.symbols is not None and found.columns[found.symbols].astype(str).equals(index.astype(str))
    if found.nameless and not is_twice:
        taken = " and ".join(f"{what} from {name}" for what, name in _taken(found))
        return [f"genes: the names {listed(index, 2)} are running numbers and are not used; {taken}"]
    key = found.columns[found.symbols] if found.symbols else index
    if found.ids is None and (running_prefix(key) is not None or (gene_key and are_nameless(key))):
        return [f"genes: the names {listed(key, 2)} are running numbers: they must mean the same genes in all files"]
    return []


def _taken(found: NameColumns) -> list[tuple[str, str]]:
    return [(what, name) for what, name in (("ids", found.ids), ("symbols", found.symbols)) if name]


def _species_notes(found: NameColumns) -> list[str]:
    if found.ids is None or found.symbols is None:
        return []
    prefix, style = species_prefix(found.columns[found.ids]), symbol_style(found.columns[found.symbols])
    if {(prefix, style)} & {("ENSMUSG", "human"), ("ENSG", "mouse")}:
        return [
            f"genes: the ids in {found.ids} are of {species_words(str(prefix))}, but the symbols in {found.symbols}"
            f" look like those of {style}; to match by symbol alone, set gene_key to {found.symbols}"
        ]
    return []
