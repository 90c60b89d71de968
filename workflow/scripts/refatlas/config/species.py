"""Species of the atlas, of datasets and queries; the table of orthologs. Light: Snakemake imports it at every start."""

import os
from typing import Any

from refatlas.config.validation import require_plain_path
from refatlas.errors import InputError, shown
from refatlas.prepare.ortholog_columns import BUNDLED, BUNDLED_SPECIES, header_species, read_header, require_species


def complete_species(config: dict[str, Any]) -> None:
    """Check `species` and `orthologs` of a configuration, in place.

    Those that are not set are removed: the configuration is a param of rules, which must not run again because there is
    a new key.

    Raises:
        InputError: a table without the atlas' species, a file that is missing or has no column of that species.
    """
    for key in ("species", "orthologs"):
        if config[key] is None:
            del config[key]
    if "species" in config:
        config["species"] = config["species"].strip().casefold()
    table = config.get("orthologs")
    if table is None:
        return
    if "species" not in config:
        raise InputError(
            "config: orthologs: species is not set; name the species whose genes the atlas has, such as species: human"
        )
    if table != BUNDLED:
        require_plain_path(table, "config: orthologs")
        if not os.path.isfile(table):
            raise InputError(
                f"config: orthologs: no file {shown(repr(table))} (from {os.getcwd()}); give the path of a tsv or csv,"
                f" or {BUNDLED} for the table of {' and '.join(BUNDLED_SPECIES)}"
            )
    require_species(config["species"], _species_of_table(table), "config: species:", _table_words(table))


def _species_of_table(table: str) -> list[str]:
    return BUNDLED_SPECIES if table == BUNDLED else header_species(read_header(table, "config: orthologs")[0])


def _table_words(table: str) -> str:
    return "the bundled table of orthologs" if table == BUNDLED else f"the table of orthologs {shown(repr(table))}"


def take_species(datasets: dict[str, dict], queries: dict[str, dict], config: dict[str, Any]) -> dict[str, str]:
    """Return the species of each dataset and query that names one, and take it out of their rows, in place.

    Rows are params of the rules that read files: naming the atlas' own species reads no file again. A row of another
    species has `orthologs` in its place: of, to, and table, which is None if its gene_key names the orthologs.

    Args:
        config: of `complete_config`.

    Raises:
        InputError: the config does not name the atlas' species, the table lacks a species, or there is neither a table
            nor a gene column of orthologs.
    """
    found = {}
    for kind, rows in (("reference", datasets), ("queries", queries)):
        for name, row in rows.items():
            if "species" not in row:
                continue
            found[name] = row["species"].casefold()
            # The datasets of an atlas bundle are not read again, and their rows are part of its checksum.
            if kind == "queries" or not config["atlas"]:
                del row["species"]
                if other := _orthologs(found[name], row, config, f"{config[kind]}: {name!r}: species"):
                    row["orthologs"] = other
    return found


def _orthologs(species: str, row: dict[str, Any], config: dict[str, Any], where: str) -> dict[str, Any] | None:
    own, table = config.get("species"), config.get("orthologs")
    if own is None:
        raise InputError(
            f"{where} is {shown(repr(species))}, and the config does not say of what the atlas is; set species, such as"
            " species: human"
        )
    if species == own:
        return None
    if table is None and row["gene_key"] is None:
        raise InputError(
            f"{where} is {shown(repr(species))}, and the atlas is of {own}: set orthologs in the config to {BUNDLED}"
            f" ({' and '.join(BUNDLED_SPECIES)}) or to a table with the columns {own} and {species}, or name a gene"
            f" column of the {own} orthologs as gene_key"
        )
    if table is not None:
        require_species(species, _species_of_table(table), where, _table_words(table))
    return {"of": species, "to": own, "table": table}
