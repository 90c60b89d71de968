"""Gene programs: named sets of genes from a GMT file, and their genes in a reference."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from refatlas.errors import InputError, listed

BUNDLED = Path(__file__).parent / "gene_sets" / "reactome.gmt"


def read_gmt(path: str | Path) -> dict[str, set[str]]:
    """Return the genes of each program of a GMT file, in capitals, by the program's name.

    Raises:
        InputError: the file is not text, has no program, a line of fewer than three columns, or a
            name twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"model.gmt: {path} is not a text file; give a GMT file: one program per line, with name, description and"
            " genes separated by tabs"
        ) from None
    programs = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = [field.strip() for field in line.split("\t")]
        genes = {gene.upper() for gene in rest[1:] if gene}
        if not genes:
            raise InputError(
                f"model.gmt: {path}, line {number}: {line[:40]!r} has no gene; a GMT line is name, description and"
                " genes, separated by tabs"
            )
        if name in programs:
            raise InputError(f"model.gmt: {path}, line {number}: program {name!r} appears twice; names must be unique")
        programs[name] = genes
    if not programs:
        raise InputError(
            f"model.gmt: {path} has no program; give a GMT file: one program per line, with name, description and genes"
            " separated by tabs"
        )
    return programs


def program_mask(
    programs: dict[str, set[str]], symbols: Iterable[str], min_genes: int, path: str | Path
) -> tuple[list[str], np.ndarray]:
    """Return the programs with enough of a reference's genes, and which gene is in which program.

    The latter is boolean, of shape (n_programs, n_genes).

    Args:
        programs: genes by name, in capitals.
        symbols: of the reference's genes, compared in capitals.
        min_genes: that a program needs.
        path: of the programs, for the message.

    Raises:
        InputError: no program has enough genes.
    """
    known = np.array([str(symbol).upper() for symbol in symbols])
    mask = np.array([np.isin(known, list(genes)) for genes in programs.values()])
    enough = mask.sum(axis=1) >= min_genes
    if not enough.any():
        names, fullest = list(programs), int(mask.sum(axis=1).argmax())
        in_file = listed(sorted(programs[names[fullest]]), 4)
        raise InputError(
            f"model.gmt: {path}: no program has {min_genes} of the reference's {len(known)} genes; the largest"
            f" overlap is {int(mask[fullest].sum())}, of {names[fullest]}. Its genes are {in_file}, those of the"
            f" reference {listed(known, 4)}. Use programs with the gene symbols of the reference's species, raise"
            " genes.n_top, or lower model.min_genes"
        )
    return [name for name, kept in zip(programs, enough, strict=True) if kept], mask[enough]
