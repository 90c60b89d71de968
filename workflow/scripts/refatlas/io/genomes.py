"""Genomes of a file's genes: prefixes such as `GRCh38_` are cut, and of several genomes one is taken."""

import re

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.io.matrix_rows import Rows

ASSEMBLY = (
    r"(?:GRC[a-z]\d{1,2}|hg\d{2}|mm\d{1,2}|rn\d|mRatBN7(?:\.2)?|Rnor_?6(?:\.0)?|dm\d|BDGP6(?:\.\d+)?|ce\d{2}|WBcel235"
    r"|danRer\d+|canFam\d|galGal\d|susScr\d+|Sscrofa11(?:\.1)?|rheMac\d+|Mmul_?\d+|panTro\d|macFas\d|b37|TAIR10"
    r"|T2T[-_]CHM13(?:v\d(?:\.\d)?)?|CHM13(?:v\d(?:\.\d)?)?)"
)
# As in refdata-gex-GRCh38-2020-A, GRCh38.p13, mm10-3.0.0_premrna.
RELEASE = r"(?:\.p\d+)?(?:[-_](?:\d{4}-[A-Z]|\d\.\d\.\d))?(?:[-_.]?pre-?mrna)?"
SPECIES_WORD = r"human|mouse|homo_sapiens|mus_musculus|homo-sapiens|mus-musculus"
PREFIX = rf"(?i)^({ASSEMBLY}{RELEASE}|{SPECIES_WORD})(?:_+|-+)(?=.)"
# The name of any genome before an Ensembl id.
BEFORE_ID = r"^([A-Za-z][\w.\-]*?)(?:_+|-+)ENS[A-Z]*G\d{6,}"
ANY_PREFIX = rf"(?i)^(?:{ASSEMBLY}|{SPECIES_WORD})|^[A-Za-z].*[_-]ENS[A-Z]*G\d{{6,}}"
ENSEMBL_PREFIX = r"^(ENS[A-Z]*G)\d{6,}"
GENOME_COLUMNS = ("genome", "genomes", "species", "organism")
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl", "ensembl_gene_id", "id", "ids")
# A smaller share of the genes is no genome: a virus, a transgene, or a gene that is named by chance.
MIN_GENOME_SHARE = 0.05
# Genes that are looked at for a prefix first.
SAMPLE = 2000
SPECIES = {"ENSG": "human", "ENSMUSG": "mouse"}
SPECIES_OF_GENOME = {
    "human": r"(?i)human|homo.*|grch\d+.*|hg\d+.*|b37|ensg",
    "mouse": r"(?i)mouse|mus.*|grcm\d+.*|mm\d+.*|ensmusg",
}


def take_genome(file: CountFile, genome: str | None = None) -> CountFile:
    """Return a file with the genes of one genome, whose prefix is cut from their names.

    Few genes of another genome, such as those of a virus, stay, unless a genome is named.

    Args:
        file: changed in place; all its columns are genes.
        genome: to take; None for the only one.

    Raises:
        InputError: there are several and none is named, or the named one is not there.
    """
    found = None if isinstance(file.genes.index, pd.RangeIndex) else _genomes(file.genes)
    if found is None:
        if genome is not None:
            raise InputError(
                f"{file.path}: genome {genome!r} is set in the sheet, but the names of the genes tell no genome"
                f" ({listed(file.genes.index, 3)}); leave it empty"
            )
        return file
    sizes = found[found != ""].value_counts()
    large = found.value_counts().loc[lambda n: n >= MIN_GENOME_SHARE * len(found)]
    if genome is None and len(large) > 1:
        raise InputError(
            f"{file.path}: genes of {len(large)} genomes: {_listed(large)}; name the one to take as genome in the sheet"
        )
    if genome is None:
        return _with_one_genome(file, found, str(sizes.index[0]))
    chosen = _chosen(file.path, genome, sizes)
    is_wanted = (found == chosen).to_numpy()
    if not is_wanted.all():
        others = _listed(found[~is_wanted].value_counts())
        file.notes.append(
            f"genes: {int(is_wanted.sum()):,} of genome {chosen}, as set in the sheet; left out are {others}"
        )
        file = with_columns(file, np.flatnonzero(is_wanted))
    return _without_prefix(file, chosen)


def _with_one_genome(file: CountFile, found: pd.Series, genome: str) -> CountFile:
    others = found[~found.isin([genome, ""])].value_counts()
    if len(others):
        file.notes.append(f"genes: most are of genome {genome}; kept beside them are {_listed(others)}")
    return _without_prefix(file, genome)


def _listed(sizes: pd.Series) -> str:
    return listed(f"{genome or 'no genome'} ({n:,} genes)" for genome, n in sizes.items())


def _chosen(path: str, genome: str, sizes: pd.Series) -> str:
    """Return which of the genomes a name means: the same, the beginning of one, or its species."""
    wanted = genome.strip().strip("_-").casefold()
    equal = [name for name in sizes.index if name.casefold() == wanted]
    starting = [name for name in sizes.index if name.casefold().startswith(wanted)]
    by_species = [
        name
        for name in sizes.index
        for pattern in SPECIES_OF_GENOME.values()
        if re.fullmatch(pattern, wanted)
        and re.fullmatch(pattern, name)
        and (wanted in SPECIES_OF_GENOME or name in SPECIES_OF_GENOME)
    ]
    for names in (equal, starting, by_species):
        if len(names) == 1:
            return names[0]
    raise InputError(f"{path}: genome {genome!r} is not in the file; it has {_listed(sizes)}; name one of these")


def _genomes(genes: pd.DataFrame) -> pd.Series | None:
    """Return the genome of each gene, "" where nothing tells it; None if nothing tells any."""
    for found in (_by_prefix(genes), _by_column(genes), _by_species(genes)):
        if found is not None and (found != "").any():
            return found
    return None


def _by_prefix(genes: pd.DataFrame) -> pd.Series | None:
    found = pd.Series("", index=range(len(genes)), dtype=object)
    step = max(len(genes) // SAMPLE, 1)
    for names in (genes.index.to_series(), *(genes[column] for column in _text_columns(genes))):
        if not names.iloc[::step].astype(str).str.contains(ANY_PREFIX).any():
            continue
        text = names.astype(str).reset_index(drop=True)
        for pattern in (PREFIX, BEFORE_ID):
            prefix = text.str.extract(pattern)[0]
            # Symbols stand before ids, too: only what many genes share is a genome.
            n_genes = prefix.map(prefix.value_counts())
            usual = (n_genes >= max(2, MIN_GENOME_SHARE * len(prefix))) | (prefix.notna() & (pattern == PREFIX))
            found = found.where((found != "") | ~usual, prefix)
    return found if (found != "").mean() >= MIN_GENOME_SHARE else None


def _text_columns(genes: pd.DataFrame) -> list[str]:
    return [
        name
        for name in dict.fromkeys(genes.columns)
        if not genes.columns.has_duplicates
        and str(name).casefold() not in GENOME_COLUMNS
        and (genes[name].dtype.kind in "OUT" or isinstance(genes[name].dtype, pd.CategoricalDtype | pd.StringDtype))
    ]


def _by_column(genes: pd.DataFrame) -> pd.Series | None:
    named = {str(name).casefold(): name for name in genes.columns}
    column = next((named[name] for name in GENOME_COLUMNS if name in named), None)
    if column is None or genes.columns.has_duplicates:
        return None
    values = genes[column].astype(object)
    text = values.where(values.notna(), "").astype(str).str.strip().reset_index(drop=True)
    # Tables of several files are joined with blanks: they tell nothing if there is only one genome.
    known = text[text != ""].unique()
    return text.where(text != "", known[0]) if len(known) == 1 else text


def _by_species(genes: pd.DataFrame) -> pd.Series | None:
    """Return the species that the genes' Ensembl ids tell, if they tell several."""
    named = {str(name).casefold(): name for name in genes.columns[::-1]}
    columns = [genes.index.to_series(), *(genes[named[name]] for name in ID_COLUMNS if name in named)]
    for names in columns:
        found = names.astype(str).reset_index(drop=True).str.extract(ENSEMBL_PREFIX)[0]
        if found.notna().mean() > 0.5:
            shares = found.value_counts() / len(found)
            several = int((shares >= MIN_GENOME_SHARE).sum()) > 1
            return found.map(lambda prefix: SPECIES.get(prefix, prefix)).fillna("") if several else None
    return None


def _without_prefix(file: CountFile, genome: str) -> CountFile:
    if not genome:
        return file
    pattern = rf"^{re.escape(genome)}(?:_+|-+)(?=.)"
    index = file.genes.index.astype(str)
    changed = index.str.contains(pattern)
    genes = file.genes.set_axis(index.str.replace(pattern, "", regex=True))
    for column in _text_columns(genes):
        text = genes[column].astype(object)
        fits = text.astype(str).str.contains(pattern).to_numpy()
        if fits.any():
            genes[column] = text.where(~fits, text.astype(str).str.replace(pattern, "", regex=True))
            changed |= fits
    if changed.any():
        file.notes.append(f"genes: the prefix of genome {genome} is cut from the names of {int(changed.sum()):,} genes")
        file.genes = genes
    return file


def with_columns(file: CountFile, columns: np.ndarray) -> CountFile:
    """Return a file with some of its columns only.

    Args:
        file: changed in place.
        columns: numbers of those that stay, ascending.
    """
    rows = file.rows
    file.genes = file.genes.iloc[columns]
    file.rows = Rows((rows.shape[0], len(columns)), lambda start, stop: rows.read(start, stop)[:, columns], rows.ends)
    return file
