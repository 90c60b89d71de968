"""Tables of text as programs and spreadsheets write them, with every value as the text that is in the file.

The separator and the form of the header are found from the content, never from the file's name.
"""

import csv
import gzip
import io
import itertools
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from refatlas.errors import InputError, shown

# The likeliest first: values hold commas and spaces more often than tabs and semicolons.
SEPARATORS = ("\t", ";", ",", "|")
SPACES = " "
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", SPACES: "spaces"}
# Characters and lines that the separator is found from.
SAMPLE, SAMPLE_LINES = 200_000, 200
# A field of a table that is separated by spaces: quoted, with quotes doubled or escaped, or without spaces.
FIELD = re.compile(r'"((?:[^"\\]|\\.|"")*)"(?=\s|$)|(\S+)')
# What other files begin with.
FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x89HDF": "an HDF5 file",
    b"RDX": "a file of R",
    b"X\n\x00\x00": "an RDS file of R",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"%PDF": "a PDF",
    b"\x93NUMPY": "an array of numpy",
}


def read_text_table(path: str) -> pd.DataFrame:
    """Return a table of text; the names of R's rows are its first column, named "".

    Read are csv, tsv and tables separated by semicolons, bars or spaces, quoted or not, gzipped or
    not, in UTF-8 or UTF-16, as R's write.csv and write.table and pandas write them.

    Raises:
        InputError: it is no table of text, has one column only, or a line of another length.
    """
    text = _read_text(path)
    separator, header, n_fields = _layout(path, text)
    table = _split_by_spaces(path, text) if separator == SPACES else _parse(path, text, separator, n_fields)
    if n_fields == len(header) + 1:
        # A separator at the end of each line makes an empty last column, and no names of rows.
        trailing = table.shape[1] == n_fields and (table.iloc[:, -1] == "").all()
        table = table.iloc[:, :-1] if trailing else table
        header = header if trailing else ["", *header]
    return table.set_axis(header, axis=1)


def _read_text(path: str) -> str:
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    kind = next((kind for begin, kind in FOREIGN.items() if content.startswith(begin)), None)
    if kind:
        raise InputError(f"{path}: is {kind}, and no table of text; save it as csv or tsv (UTF-8)")
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    # Lines of old spreadsheets on a Mac.
    return text if "\n" in text else text.replace("\r", "\n")


def _layout(path: str, text: str) -> tuple[str, list[str], int]:
    """Return the separator, the header's names, and the number of fields of most lines."""
    if not text.strip():
        raise InputError(f"{path}: is empty; give a table with a header and a row for each cell")
    sample = text[:SAMPLE]
    if len(text) > SAMPLE:
        sample = sample[: sample.rfind("\n")]
    # Spaces last: values of any table hold some.
    found = [(*_fields(sample, separator), separator) for separator in (*SEPARATORS, SPACES)]
    for candidates in (found[:-1], found[-1:]):
        # The same number of names as of values is better evidence than one name less, R's form.
        for missing in (0, 1):
            for header, n_fields, share, separator in candidates:
                fits = n_fields == len(header) + missing and n_fields > 1
                # Most lines, so that a line of another length is found and named later.
                if fits and share >= 0.5 and (len(header) > 1 or _is_one_name(sample)):
                    return separator, header, n_fields
    lengths = "; ".join(
        f"by {NAMES[separator]}: {len(header)} names, {n_fields} values"
        for header, n_fields, _, separator in found
        if len(header) > 1 or n_fields > 1
    )
    raise InputError(
        f"{path}: is no table with a header of names and lines of as many values"
        f" ({lengths or 'it has one column only'}); give a csv or tsv of the cells' names and at least one more column"
    )


def _is_one_name(sample: str) -> bool:
    """Return whether the first line is one name: quoted, or without spaces."""
    return len(_space_fields(sample.lstrip().split("\n", 1)[0])) == 1


def _fields(sample: str, separator: str) -> tuple[list[str], int, float]:
    """Return the header's names, the usual number of fields of the lines below, and the share of lines with it."""
    if separator == SPACES:
        rows = [_space_fields(line) for line in sample.splitlines() if line.strip()][:SAMPLE_LINES]
    else:
        lines = csv.reader(io.StringIO(sample), delimiter=separator)
        try:
            rows = [row for row in itertools.islice(lines, SAMPLE_LINES) if row]
        except csv.Error:
            return [], 0, 0.0
    if len(rows) < 2:
        return (rows[0], len(rows[0]), 1.0) if rows else ([], 0, 0.0)
    lengths = Counter(len(row) for row in rows[1:])
    # Of equally many lines, those that fit the header.
    usual = max(lengths, key=lambda length: (lengths[length], length == len(rows[0]), length))
    return rows[0], usual, lengths[usual] / (len(rows) - 1)


def _space_fields(line: str) -> list[str]:
    return [
        re.sub(r'\\(.)|""', lambda escaped: escaped[1] or '"', quoted) if quoted or not plain else plain
        for quoted, plain in FIELD.findall(line)
    ]


def _split_by_spaces(path: str, text: str) -> pd.DataFrame:
    rows, n_fields = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        fields = _space_fields(line)
        if not fields or number == 1:
            continue
        n_fields = n_fields or len(fields)
        if len(fields) != n_fields:
            raise _ragged(path, f"line {number} has {len(fields)} values, others {n_fields}", SPACES)
        rows.append(fields)
    return pd.DataFrame(rows, dtype=object)


def _parse(path: str, text: str, separator: str, n_fields: int) -> pd.DataFrame:
    columns = [str(i) for i in range(n_fields)]
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode()),
            arrow_csv.ReadOptions(skip_rows=_n_header_lines(text, separator), column_names=columns),
            # R escapes quotes by a backslash in write.table, and doubles them in write.csv.
            arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, escape_char="\\" if '\\"' in text else False
            ),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return pd.DataFrame(columns=columns, dtype=object)
        raise _ragged(path, shown(error, 200), separator) from error
    return table.to_pandas()


def _n_header_lines(text: str, separator: str) -> int:
    """Return the number of lines, with empty ones before it, that the header takes."""
    lines = csv.reader(io.StringIO(text[:SAMPLE]), delimiter=separator)
    next((row for row in lines if row), None)
    return lines.line_num


def _ragged(path: str, what: str, separator: str) -> InputError:
    return InputError(
        f"{path}: {what}; the table is separated by {NAMES[separator]}, and all lines need the same number of values."
        " Correct the line; put values that hold a separator in quotes"
    )
