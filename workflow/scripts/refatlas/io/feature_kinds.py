"""What the features of a file are: genes, proteins, peaks, hashtags, guides and others, in any spelling."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.io.genomes import take_genome, with_columns
from refatlas.io.matrix_rows import Rows, summable

GENES = "Gene Expression"
PROTEINS = "Antibody Capture"
HASHTAGS = "Multiplexing Capture"
PEAKS = "Peaks"
GUIDES = "CRISPR Guide Capture"
CONTROLS = "Control"

# Words by what they mean; spelling, capitals and separators do not matter.
WORDS = {
    GENES: (
        "gene expression, gene, genes, gex, ge, rna, rnas, mrna, mrnas, cdna, transcript, transcripts, transcriptome,"
        "transcriptomics, expression, rna expression, mrna expression, gene expressions, gene counts, rna counts,"
        "rna seq, scrna, scrna seq, snrna seq, targeted gene expression, wta, gene rna, gene expression rna"
    ),
    PROTEINS: (
        "antibody capture, antibody, antibodies, antibody derived tag, antibody derived tags, antibody tag, adt, adts,"
        "adt counts, protein, proteins, protein expression, prot, abseq, ab seq, ab, abs, ab capture, cite, cite seq,"
        "surface protein, surface proteins, cell surface protein, totalseq, totalseq a, totalseq b, totalseq c, pabo,"
        "epitope, epitopes, protein capture"
    ),
    PEAKS: (
        "peaks, peak, atac, atac peaks, atac seq, scatac, snatac, scatac seq, chromatin accessibility, chromatin,"
        "accessibility, open chromatin, dna accessibility, tile, tiles, region, regions, fragments, gene activity"
    ),
    HASHTAGS: (
        "multiplexing capture, multiplexing, hto, htos, hashtag, hashtags, hashing, cell hashing, hashtag oligo,"
        "hashtag oligos, hash tag, hash tags, sample tag, sample tags, cmo, cmos, lmo, cell multiplexing,"
        "cell multiplexing oligo, multiplexing tag, hashtag capture, hash"
    ),
    GUIDES: (
        "crispr guide capture, crispr, crispr guide, crispr guides, guide, guides, guide capture, guide rna,"
        "guide rnas, grna, grnas, sgrna, sgrnas, sgrna capture, crispr sgrna"
    ),
    "Custom": "custom, custom feature, custom features, custom capture",
    "Antigen Capture": "antigen capture, antigen, antigens, beam, dextramer, dextramers, tetramer, tetramers",
    "VDJ": "vdj, vdj t, vdj b, tcr, bcr, immune receptor, immune repertoire",
    "Spike-in": "spike in, spike ins, spike, ercc, erccs, ercc spike in, ercc spike ins, sirv",
    CONTROLS: (
        "negative control probe, negative control codeword, negative control, control probe, system control,"
        "unassigned codeword, deprecated codeword, blank codeword, blank, genomic control, false code"
    ),
    "Methylation": "methylation, dna methylation",
}
# Columns of kinds in a table of genes, in the order in which they are looked for.
COLUMNS = (
    *("featuretypes", "featuretype", "modality", "modalities", "featurekind", "featureclass", "librarytype"),
    *("datatype", "omic", "omics", "assay", "assays", "kind", "type", "types", "featurebiotype"),
)
# Names of columns that say nothing else than the kind: their unknown values are refused, not passed over.
SURE_COLUMNS = {"featuretypes", "featuretype", "modality", "modalities", "featurekind", "featureclass"}
# A column with one of these speaks of kinds of genes, not of features.
BIOTYPE = (
    r"(?i)protein[_ ]coding|(?:lnc|linc|mi|sn|sno|sca|r|t|nc|misc_|mt_r|mt_t|s|vault_|macro_lnc)rna|.*pseudogene"
    r"|antisense|(?:ig|tr)_[cdjv]_.*|tec|ribozyme|processed_transcript|sense_(?:intronic|overlapping)|nonsense_mediated_decay"
)
# Names that no gene has, whatever their capitals, for files that say no kinds.
NAMED = {
    HASHTAGS: (
        r"hash[_\- ]?tag|^(?:hto|cmo)[_\-. ]?\d+(?:[_\-.:].*)?$|^hto[_:\-.].+|^.+[_:\-.]hto$"
        r"|^sample[_\- ]?tag[_\- ]?\d+|^.+\|stabo$"
    ),
    PROTEINS: (
        r"^(?:adt|prot|protein|cite|abseq|antibody|anti)[_:\-.].+|^ab_.+"
        r"|^.+[_:\-.| ](?:adt|prot|protein|abseq|pabo|antibody)$"
        r"|^.+[_:\-.| ]?totalseq[_\-.]?[abcd]?(?:[_\-.]\d+)?$"
    ),
    PEAKS: (
        r"^(?:chr[\w.]+|\d{1,2}|[xy]|mt|[23][lr]|[iv]+|(?:gl|ki|jh|kz)\d+\.\d)[:_\-]\d+[_\-]\d+$"
        r"|^[a-z\d][\w.]*:\d+-\d+$"
    ),
    GUIDES: r"^(?:sgrna|grna)[_:\-.].+",
    # Of Xenium, MERSCOPE and CosMx.
    CONTROLS: (
        r"^blank[_\-]?\d+$|^neg(?:ative)?[_\-]?control[_\-]?(?:probe|codeword)|^(?:unassigned|deprecated|blank)[_\-]?codeword"
        r"|^intergenic[_\-]region[_\-]|^genomic[_\-]?control[_\-]?\d|^(?:system[_\-]?control|falsecode|negprb)\d+$"
    ),
}
# The kind of features that are counts, while a file is opened: all readers end in `split_features`.
_TAKEN: ContextVar[str] = ContextVar("taken features", default=GENES)
# Below this share of genes, a file of peaks or proteins has no gene expression: what is left are controls.
MIN_GENE_SHARE = 0.1


def _plain(word: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(word).casefold())


_MEANINGS = {_plain(word): kind for kind, words in WORDS.items() for word in words.split(",")}


def known_kind(word: object) -> str | None:
    """Return what a word for features means, in Cell Ranger's terms, or None for an unknown word.

    Args:
        word: as a file writes it, such as "GEX", "rna" or "Gene Expression".
    """
    return _MEANINGS.get(_plain(word))


def kind_column(genes: pd.DataFrame) -> pd.Series | None:
    """Return the column that says what each feature is, as text, or None if there is none.

    Args:
        genes: a file's table of genes, with columns as written.
    """
    named: dict[str, list] = {}
    for name in () if genes.columns.has_duplicates else genes.columns:
        # Older versions of anndata join the tables of several files as feature_types-0, feature_types-1 …
        named.setdefault(_plain(re.sub(r"-\d+$", "", str(name))), []).append(name)
    for column in (name for name in COLUMNS if name in named):
        kinds = _first_text([_text(genes[name]) for name in named[column]])
        if _are_kinds(kinds, sure=column in SURE_COLUMNS):
            return kinds
    return None


def _text(values: pd.Series) -> pd.Series:
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    return text.where(~text.isin(["nan", "None", "NA"]), "")


def _first_text(columns: list[pd.Series]) -> pd.Series:
    """Return for each feature what the first column says that says something."""
    found = columns[0]
    for other in columns[1:]:
        found = found.where(found != "", other)
    return found


def _are_kinds(kinds: pd.Series, sure: bool) -> bool:
    """Return whether values are words for features, and not genomes, biotypes or anything else."""
    sizes = kinds[kinds != ""].value_counts()
    known = sizes.index.map(known_kind).notna()
    if not known.any() or any(re.fullmatch(BIOTYPE, value) for value in sizes.index):
        return False
    return sure or bool(sizes[known].sum() > sizes.sum() / 2)


@contextmanager
def taking_peaks(wanted: bool) -> Iterator[None]:
    """Let files that are opened in the block give their peaks as counts in place of their genes, if that is wanted."""
    token = _TAKEN.set(PEAKS if wanted else GENES)
    try:
        yield
    finally:
        _TAKEN.reset(token)


def split_features(file: CountFile, kinds: pd.Series | None, names: pd.Index, genome: str | None = None) -> CountFile:
    """Return a file with only its genes as counts; every other kind of feature becomes proteins.

    Within `taking_peaks`, peaks are in the place of genes.

    Args:
        file: changed in place.
        kinds: of each column, as written; None, or values that are no kinds, mean that all are
            genes unless their names say otherwise.
        names: of each column, for proteins.
        genome: the one to take, of a file with several.

    Raises:
        InputError: there are no genes, unknown kinds, or genes of several genomes.
    """
    written = None if kinds is None else _text(kinds).reset_index(drop=True)
    if written is not None and _are_kinds(written, sure=True):
        meanings = _meanings(file.path, written)
    else:
        written = meanings = pd.Series(GENES, index=range(file.rows.shape[1]))
    if (meanings == GENES).all():
        written = meanings = _named_kinds(file, names)
    if _TAKEN.get() == PEAKS:
        meanings = _with_peaks_for_genes(file, meanings)
    _require_genes(file, written, meanings)
    return take_genome(_without_others(file, written, meanings, names), genome)


def _meanings(path: str, kinds: pd.Series) -> pd.Series:
    """Return what each feature is: a known kind, or a single unknown word as it is written."""
    words = {word: known_kind(word) for word in pd.unique(kinds)}
    if words.get("", "") is None and set(words.values()) <= {GENES, None} and len(words) == 2:
        words[""] = GENES
    unknown = [word for word, kind in words.items() if kind is None]
    n_unknown, n_genes = int(kinds.isin(unknown).sum()), int((kinds.map(words) == GENES).sum())
    if len(unknown) > 1 or (unknown and n_genes <= n_unknown):
        found = listed(f"{word or '(empty)'}: {n}" for word, n in kinds.value_counts().items())
        raise InputError(
            f"{path}: kinds of features {listed(repr(word) for word in unknown)} are unknown (features by kind:"
            f" {found}); write 'Gene Expression' for genes, and 'Antibody Capture', 'Peaks', 'Multiplexing Capture' or"
            " 'Custom' for others"
        )
    return kinds.map(lambda word: words[word] or word or "(empty)")


def _named_kinds(file: CountFile, names: pd.Index) -> pd.Series:
    """Return the kinds that the features' names tell; a name that tells nothing is a gene's."""
    kinds = pd.Series(GENES, index=range(file.rows.shape[1]))
    if isinstance(file.genes.index, pd.RangeIndex):
        return kinds
    own = pd.Series(file.genes.index.astype(str))
    columns = [own] if names.equals(file.genes.index) else [own, pd.Series(names.astype(str))]
    columns = [column for column in columns if column.str.contains("|".join(NAMED.values()), case=False).any()]
    for kind, pattern in NAMED.items() if columns else ():
        found = np.logical_or.reduce([column.str.contains(pattern, case=False).to_numpy() for column in columns])
        kinds[found & (kinds == GENES).to_numpy()] = kind
    return kinds


def _with_peaks_for_genes(file: CountFile, meanings: pd.Series) -> pd.Series:
    """Return the kinds with genes and peaks exchanged.

    Raises:
        InputError: there are no peaks.
    """
    if PEAKS not in set(meanings):
        raise InputError(
            f"{file.path}: the sheet asks for peaks (column features), and {file.location} holds none, but"
            f" {listed(f'{kind} ({n:,} features)' for kind, n in meanings.value_counts().items())}, such as"
            f" {listed(file.genes.index, 2)}; name peaks as chr1:1000-1500, or write 'Peaks' as their feature_types"
        )
    return meanings.replace({GENES: PEAKS, PEAKS: GENES})


def _require_genes(file: CountFile, written: pd.Series, meanings: pd.Series) -> None:
    is_gene = meanings == GENES
    others = written[~is_gene].value_counts()
    if is_gene.any() and (is_gene.mean() >= MIN_GENE_SHARE or PEAKS not in set(meanings)):
        return
    found = listed(f"{kind or '(empty)'} ({n:,} features)" for kind, n in others.items())
    left = f" and {int(is_gene.sum())} other names" if is_gene.any() else ""
    raise InputError(
        f"{file.path}: {file.location} holds {found}{left}, such as {listed(file.genes.index[~is_gene], 2)}, and no"
        " gene expression; give the file with the counts of genes"
        + (", or write peaks in the column features of the sheet" if PEAKS in set(meanings) else "")
    )


def _without_others(file: CountFile, written: pd.Series, meanings: pd.Series, names: pd.Index) -> CountFile:
    is_gene, rows = (meanings == GENES).to_numpy(), file.rows
    if is_gene.all():
        return file
    for kind in pd.unique(written[~is_gene]):
        columns = np.flatnonzero(((written == kind) & ~is_gene).to_numpy())
        file.proteins[kind or "(empty)"] = partial(_column_table, rows, columns, names[columns], file.cells.index)
    file.notes += _kind_notes(written, meanings, names)
    return with_columns(file, np.flatnonzero(is_gene))


def _kind_notes(written: pd.Series, meanings: pd.Series, names: pd.Index) -> list[str]:
    notes = ["features: " + ", ".join(f"{n} {kind or '(empty)'}" for kind, n in written.value_counts().items())]
    unknown = [kind for kind in pd.unique(meanings) if kind not in WORDS]
    notes += [f"features: {kind!r} is no known kind; they are left out of the genes" for kind in unknown]
    if written is meanings:
        others = names[(meanings != GENES).to_numpy()]
        notes.append(
            f"features: the file says of none that it is no gene; {len(others)} are left out by their names"
            f" ({listed(others, 3)})"
        )
    return notes


def _column_table(rows: Rows, columns: np.ndarray, names: pd.Index, cells: pd.Index) -> pd.DataFrame:
    values = [summable(block[:, columns]).toarray() for _, block in rows.blocks()]
    return pd.DataFrame(np.vstack(values), index=cells, columns=names)


def feature_names(ids: np.ndarray, names: np.ndarray) -> pd.Index:
    """Return the features' names, or their ids where a name is not unique."""
    index = pd.Index(names)
    return index.where(~index.duplicated(keep=False), pd.Index(ids))


def is_rna(word: object) -> bool:
    """Return whether a word, such as the name of a modality, stands for RNA."""
    return known_kind(word) == GENES


def rna_names(words: Iterable[str]) -> list[str]:
    """Return those of some names that stand for RNA, such as modalities named "rna", "RNA" or "GEX"."""
    return [word for word in words if is_rna(word)]
