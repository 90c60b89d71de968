"""What the names of an AnnData file's matrices say about their values."""

import re
from enum import IntEnum


class Role(IntEnum):
    """What the name of a matrix says, those that mean raw counts first."""

    RAW_COUNTS = 0
    COUNTS = 1
    READS = 2
    WHOLE = 3
    RAW = 4
    UNKNOWN = 5
    CORRECTED = 6
    PART = 7
    INDICATOR = 8
    DERIVED = 9


# Parts of the counts of a cell: of velocyto, kallisto, alevin-fry, STARsolo, dynamo.
PARTS = {
    *("spliced", "unspliced", "ambiguous", "exon", "exons", "exonic", "intron", "introns", "intronic", "mature"),
    *("nascent", "spanning", "premrna", "antisense"),
}
# Names that mean a part only if they stand alone, as dynamo writes them.
LONE_PARTS = {"new", "old", "labeled", "unlabeled", "sl", "su", "ul", "uu"}
INDICATORS = {
    *("binary", "binarized", "binarised", "binarize", "mask", "masked", "detected", "detection", "expressed"),
    *("present", "presence", "indicator", "nonzero", "bool", "boolean", "isexpressed", "dropout", "dropouts"),
}
DERIVED = {
    *("normalized", "normalised", "norm", "normed", "normalize", "log", "logged", "log1p", "log2", "log10", "lognorm"),
    *("logcounts", "lognormalized", "lognormalised", "logcpm", "cpm", "cp10k", "tpm", "fpkm", "rpkm", "rpm", "scaled"),
    *("scale", "zscore", "zscores", "pearson", "residuals", "sct", "vst", "transformed", "imputed", "magic"),
    *("denoised", "smoothed", "smooth", "velocity", "variance", "rank", "ranks", "ranked", "bin", "bins", "binned"),
    *("quantile", "quantiles", "digitized", "discretized", "codes", "std", "stderr", "probability", "prob"),
}
# As in not_normalized, before_log: such values are raw.
NEGATED = r"(?<![a-z])(?:not?|non|un|before|pre|without)_?(?:log|norm|scal|transform)[a-z0-9]*"
CORRECTED = r"(?<!un)corrected|decont|cellbender|soupx|ambient|downsampl|subsampl|thinned|denoise|scar\b|adjusted"
RAW_WORDS = (
    r"(?:(?:raw|counts?|umis?|reads?|rna|gex|genes?|n|x|matrix|data|orig(?:inal)?|int(?:eger)?|unnormali[sz]ed|total"
    r"|uncorrected|expression|all)_?)+"
)


def role_of(location: str) -> Role:
    """Return what the name of a matrix says about its values.

    Args:
        location: in the file, such as "X", "layers/counts" or "raw/X".
    """
    if location == "X":
        return Role.UNKNOWN
    if location in ("raw/X", "raw.X"):
        return Role.RAW
    name = re.sub(NEGATED, "raw", _plain(location.removeprefix("layers/")))
    words = set(name.split("_"))
    parts = words & PARTS
    if name in LONE_PARTS:
        return Role.PART
    if parts:
        return Role.PART if len(parts) == 1 else Role.WHOLE
    if words & INDICATORS:
        return Role.INDICATOR
    if words & DERIVED:
        return Role.DERIVED
    if re.search(CORRECTED, name.replace("_", "")) or re.search(CORRECTED, name):
        return Role.CORRECTED
    return _role_of_raw(name)


def _plain(name: str) -> str:
    """Return a name in lower case, its words joined by underscores."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", apart.casefold()).strip("_")


def _role_of_raw(name: str) -> Role:
    if not re.fullmatch(RAW_WORDS, name):
        return Role.UNKNOWN
    is_raw, are_counts = re.search("raw|orig|uncorrected|unnormal", name), re.search("count|umi", name)
    if is_raw and are_counts:
        return Role.RAW_COUNTS
    if is_raw or are_counts:
        return Role.COUNTS
    if "read" in name:
        return Role.READS
    return Role.WHOLE if re.search("matrix|total|all", name) else Role.UNKNOWN
