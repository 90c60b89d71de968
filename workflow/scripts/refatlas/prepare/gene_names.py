"""What the names of genes are: ids, symbols, running numbers, dates of a spreadsheet; and their species."""

import re
from datetime import date, timedelta

import numpy as np
import pandas as pd

# Ids of Ensembl, FlyBase, WormBase and TAIR: the same in every release, except for a version.
ENSEMBL = r"ENS[A-Z]*G\d{6,}(?:\.\d+)?(?:_PAR_Y)?"
GENE_ID = rf"(?:{ENSEMBL}|FBgn\d{{7}}|WBGene\d{{8}}|AT[1-5CM]G\d{{5}})"
VERSION = r"\.\d+(?=$|_PAR_Y$)"
SPECIES_PREFIX = r"^(ENS[A-Z]*G|FBgn|WBGene|AT)\d"
SPECIES = {
    "ENSG": "human",
    "ENSMUSG": "mouse",
    "ENSRNOG": "rat",
    "ENSMMUG": "macaque",
    "ENSMFAG": "crab-eating macaque",
    "ENSPTRG": "chimpanzee",
    "ENSCJAG": "marmoset",
    "ENSSSCG": "pig",
    "ENSBTAG": "cow",
    "ENSOARG": "sheep",
    "ENSCAFG": "dog",
    "ENSGALG": "chicken",
    "ENSDARG": "zebrafish",
    "FBgn": "fruit fly",
    "WBGene": "C. elegans",
    "AT": "Arabidopsis",
}
# Names that stand for no name, with a number or without.
PLACEHOLDER = r"(?i)(?:unknown|unnamed|undefined|missing|none|null|nan|n/a)[_\-. :]*\d+"
NUMBERED = (
    r"(?i)(?:unknown|unnamed|undefined|missing|none|null|nan|na|feature|var|row|col|column|index|idx|id|v|x)?[_\-. :]*"
)
REFSEQ = r"[NX][MRC]_\d+(?:\.\d+)?"
# Ids that are looked at to tell their species.
SAMPLE = 2000
# Fewer names of one prefix may be real ones, such as CD1, CD2, CD3.
MIN_RUNNING = 5
JOINED_BEFORE = rf"^({GENE_ID})[_|:;, \-.]+(.+)$"
JOINED_AFTER = rf"^(.+?)[_|:;, \-.]+({GENE_ID})$"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?:{'|'.join(MONTHS)})[a-z]*"
# Genes that a spreadsheet turns into days of a month; MARC and MARCH cannot be told apart.
DATED_GENES = {3: "MARCHF{0} (MARCH{0}) or MTARC{0} (MARC{0})", 9: "SEPTIN{0} (SEPT{0})", 12: "DELEC{0} (DEC{0})"}
# Days of 1990 to 2035 as a spreadsheet counts them.
SERIAL_DAYS = range(32874, 49675)


def are_ids(names: pd.Series) -> bool:
    """Return whether most names are stable ids of genes, such as Ensembl's."""
    return bool(names.astype(str).str.fullmatch(GENE_ID).mean() > 0.5)


def without_version(ids: pd.Series) -> pd.Series:
    """Return ids without Ensembl's version."""
    return ids.str.replace(VERSION, "", regex=True)


def are_numbers(names: pd.Series) -> bool:
    """Return whether most names are digits alone: rows of a table, or numbers of NCBI's genes."""
    return bool(names.astype(str).str.fullmatch(r"\d+(?:\.0)?").mean() > 0.5)


def running_prefix(names: pd.Series) -> str | None:
    """Return what stands before the number of names that just count up in the file's order, or None.

    Args:
        names: in the file's order, such as unknown_00000, unknown_00001 …
    """
    parts = names.astype(str).str.extract(r"^(.*?)(\d{1,9})$")
    sizes = parts[0].value_counts()
    if sizes.empty or sizes.iloc[0] < 0.9 * len(names) or names.astype(str).str.fullmatch(GENE_ID).mean() > 0.5:
        return None
    prefix = str(sizes.index[0])
    steps = np.diff(parts.loc[parts[0] == prefix, 1].astype(int))
    counts_up = len(steps) + 1 >= MIN_RUNNING and (steps > 0).mean() > 0.95 and (steps == 1).mean() > 0.5
    return prefix if counts_up or re.fullmatch(PLACEHOLDER, prefix + "0") else None


def are_nameless(names: pd.Series) -> bool:
    """Return whether names are numbers of rows, which mean other genes in other files."""
    prefix = running_prefix(names)
    return are_numbers(names) or (prefix is not None and re.fullmatch(NUMBERED, prefix) is not None)


def species_prefix(ids: pd.Series) -> str | None:
    """Return how most ids begin, such as ENSG for human, or None if they tell no species."""
    known = ids.dropna()
    found = known.iloc[:: max(len(known) // SAMPLE, 1)].astype(str).str.extract(SPECIES_PREFIX)[0].value_counts()
    return str(found.index[0]) if len(found) else None


def species_words(prefix: str) -> str:
    """Return a species for a message, such as "mouse (ENSMUSG)"."""
    return f"{SPECIES[prefix]} ({prefix})" if prefix in SPECIES else prefix


def symbol_style(symbols: pd.Series) -> str | None:
    """Return whether symbols are written as human ones ("CD3E"), as mouse ones ("Cd3e"), or neither."""
    text = symbols.dropna().astype(str)
    text = text[text.str.contains(r"[A-Za-z]{2}")].str.replace(r"(?<=\d)orf(?=\d)", "ORF", regex=True)
    if text.empty:
        return None
    if (text == text.str.upper()).mean() >= 0.8:
        return "human"
    return "mouse" if text.str.contains(r"^[A-Z][a-z]").mean() >= 0.6 else None


def split_joined(names: pd.Series) -> tuple[pd.Series, pd.Series] | None:
    """Return ids and symbols of names such as ENSG00000141510_TP53 or TP53|ENSG00000141510; None for others.

    Symbols are missing where what stands beside the ids names no genes.
    """
    text = names.astype(str)
    free = ~text.str.fullmatch(GENE_ID)
    for pattern, order in ((JOINED_BEFORE, (0, 1)), (JOINED_AFTER, (1, 0))):
        parts = text.where(free, "").str.extract(pattern)
        if parts[0].notna().mean() > 0.5:
            # As in gene:ENSG00000141510 or AT1G01010.1, what is beside the id may be no symbol.
            ids, beside = parts[order[0]], parts[order[1]]
            are_names = beside.nunique() > 0.5 * ids.nunique() and not are_numbers(beside.dropna())
            return ids.where(ids.notna(), text), beside if are_names else pd.Series(
                None, index=text.index, dtype=object
            )
    return None


def folded(symbols: pd.Series) -> pd.Series:
    """Return symbols with every separator as a dot, and without the X that R puts before a digit."""
    return symbols.str.replace(r"[^A-Za-z0-9]", ".", regex=True).str.replace(r"^X(?=\d)", "", regex=True)


def spreadsheet_dates(symbols: pd.Series) -> list[str]:
    """Return symbols that are dates, each with the genes that it may have been, such as "2-Sep (SEPTIN2 (SEPT2))"."""
    text = pd.Series(symbols.dropna().astype(str).unique())
    likely = text[
        text.str.contains(rf"(?i)^\d{{1,2}}[-/ .]{_MONTH}$|^{_MONTH}[-/ .]\d{{1,2}}$|^\d{{4}}-\d\d-\d\d|^\d{{5}}$")
    ]
    if len(likely) > 0.5 * len(text):
        return []
    found = [(name, _month_and_day(name)) for name in likely]
    return [
        f"{name} ({DATED_GENES[day[0]].format(day[1])})" if day[0] in DATED_GENES else name
        for name, day in found
        if day is not None
    ]


def _month_and_day(name: str) -> tuple[int, int] | None:
    """Return month and number of a gene that a spreadsheet wrote as a date, None for other names."""
    if name.isdigit():
        day = date(1899, 12, 30) + timedelta(days=int(name))
        fits = int(name) in SERIAL_DAYS and day.month in DATED_GENES and day.day <= 15
        return (day.month, day.day) if fits else None
    if written := re.match(r"\d{4}-(\d\d)-(\d\d)(?:[ T]00:00:00)?$", name):
        return int(written[1]), int(written[2])
    word, number = re.search(r"[A-Za-z]+", name), re.search(r"\d+", name)
    return (MONTHS.index(word[0][:3].lower()) + 1, int(number[0])) if word and number else None
