"""The table that gives the datasets' labels common names: what is read, and what is refused."""

import pandas as pd
import pytest

from refatlas.annotate import label_matching
from refatlas.config import label_map, written_tables
from refatlas.config.label_map import MappedLabel, read_label_map
from refatlas.errors import InputError
from refatlas.io.cell_tables import UNLABELED

DATASETS = {"blood": {}, "marrow": {}}


@pytest.fixture
def write(tmp_path):
    """A function that writes rows into a map and returns its path."""

    def path(*rows: str, header: str = "dataset\tlabel\tname") -> str:
        file = tmp_path / "label_map.tsv"
        file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return str(file)

    return path


def test_rows_are_decided_undecided_or_without_label(write):
    rows = read_label_map(
        write("# a comment", "blood\tB  cells \tB", "", "marrow\tB cell\t", "marrow\tdoublets\t-"), DATASETS
    )
    assert rows == [
        MappedLabel(3, "blood", "B cells", ("B",)),
        MappedLabel(5, "marrow", "B cell", ()),
        MappedLabel(6, "marrow", "doublets", ("-",)),
    ]


def test_levels_are_read_finest_first_and_other_columns_are_not(write):
    header = "note\tdataset\tlabel\tname_2\tname\tsuggestion"
    path = write("hm\tblood\tCD4\tT\tCD4 T\tx", "\tmarrow\tjunk\t-\t-\t", "\tmarrow\tCD8\t\t\tCD8 T", header=header)
    assert [row.names for row in read_label_map(path, DATASETS)] == [("CD4 T", "T"), ("-",), ()]


def test_composed_and_decomposed_letters_are_the_same_text(write):
    rows = read_label_map(write("blood\tPre\u0301-B\tPre\u0301"), DATASETS)
    assert rows[0].label == "Pr\u00e9-B"
    assert rows[0].names == ("Pr\u00e9",)


def test_short_rows_are_undecided(write):
    assert read_label_map(write("blood\tB"), DATASETS)[0].names == ()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["blood\tB"], "dataset\tlabel", "no column 'name'"),
        (["blood\tB\tB\tB"], "dataset\tlabel\tname\tname", "occurs twice"),
        (["blood\tB\tB\tB"], "dataset\tlabel\tname\tname_3", "name them name, name_2, finest first"),
        (["blod\tB\tB"], None, r"line 2: there is no dataset 'blod' \(did you mean 'blood'\?\).*blood, marrow"),
        (["\tB\tB"], None, "line 2: the dataset is empty"),
        (["blood\t\tB"], None, "line 2: the label is empty"),
        (["blood\tB\tB", "blood\tB\tC"], None, "line 3: label 'B' of dataset 'blood' is in line 2 already"),
        (["blood\tB cell\tB", "blood\tB  cell\tC"], None, "is in line 2 already"),
        ([f"blood\tB\t{'x' * 201}"], None, "longer than 200 characters"),
        ([f"blood\tB\t{UNLABELED}"], None, "reserved"),
        (["blood\tB\tB\tx"], None, "4 values for 3 columns"),
        (["blood\tB\t-\tlymphoid"], "dataset\tlabel\tname\tname_2", "lose their label, at all levels"),
        (["blood\tB\t\tlymphoid"], "dataset\tlabel\tname\tname_2", "has names at 1 of 2 levels"),
        (
            ["blood\tB\tB\tlymphoid", "marrow\tB cell\tB\t"],
            "dataset\tlabel\tname\tname_2",
            "line 3: label 'B cell' of dataset 'marrow' has names at 1 of 2 levels",
        ),
        (
            ["blood\tB\tB\tlymphoid", "marrow\tB cell\tB\tmyeloid"],
            "dataset\tlabel\tname\tname_2",
            "name 'B' belongs to 'myeloid' here and to 'lymphoid' in line 2",
        ),
        (['blood\t"B\tB'], None, "line 2"),
    ],
)
def test_what_does_not_fit_is_refused(write, rows, header, message):
    path = write(*rows, **({"header": header} if header else {}))
    with pytest.raises(InputError, match=message):
        read_label_map(path, DATASETS)


def test_a_missing_file_is_refused_with_the_template(tmp_path):
    with pytest.raises(InputError, match=r"does not exist.*label_map_template"):
        read_label_map(str(tmp_path / "none.tsv"), DATASETS)
    with pytest.raises(InputError, match="is not a file"):
        read_label_map(str(tmp_path), DATASETS)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(InputError, match="no column 'dataset'"):
        read_label_map(str(tmp_path / "empty.tsv"), DATASETS)


def test_constants_of_two_layers_are_equal():
    assert label_map.NO_LABEL == label_matching.NO_LABEL
    assert written_tables.UNLABELED == UNLABELED


def cells(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"total_counts": 1.0, **columns}, index=[f"blood:{i}" for i in range(n)])


def test_names_replace_labels_and_other_labels_stay():
    given = cells(label=["B  cells", "NK", None, "junk"])
    rows = [
        MappedLabel(2, "blood", "B cells", ("B",)),
        MappedLabel(3, "blood", "junk", ("-",)),
        MappedLabel(4, "marrow", "NK", ("natural killer",)),
        MappedLabel(5, "blood", "gone", ()),
    ]
    found = label_matching.apply_label_map(given, "blood", rows)
    assert found["label"].tolist() == ["B", "NK", None, None]
    assert given["label"].tolist() == ["B  cells", "NK", None, "junk"]
    assert found["total_counts"].equals(given["total_counts"])


def test_names_of_two_labels_can_be_exchanged():
    rows = [MappedLabel(2, "blood", "A", ("B",)), MappedLabel(3, "blood", "B", ("A",))]
    assert label_matching.apply_label_map(cells(label=["A", "B"]), "blood", rows)["label"].tolist() == ["B", "A"]


def test_levels_are_replaced_as_far_as_there_are_names():
    given = cells(label=["CD4", "B", "junk"], label_2=["lymph", "lymph", "junk"], label_3=["x", "y", "z"])
    rows = [MappedLabel(2, "blood", "CD4", ("CD4 T", "T")), MappedLabel(3, "blood", "junk", ("-",))]
    found = label_matching.apply_label_map(given, "blood", rows)
    assert found["label"].tolist() == ["CD4 T", "B", None]
    assert found["label_2"].tolist() == ["T", "lymph", None]
    assert found["label_3"].tolist() == ["x", "y", None]


def test_a_level_that_a_dataset_lacks_is_added():
    found = label_matching.apply_label_map(
        cells(label=["CD4", "B"]), "blood", [MappedLabel(2, "blood", "CD4", ("CD4 T", "T"))]
    )
    assert found["label_2"].tolist() == ["T", None]


def test_a_label_that_the_dataset_does_not_have_is_refused():
    with pytest.raises(InputError, match="line 2: dataset 'blood' has no label 'T'; it has B, NK"):
        label_matching.apply_label_map(cells(label=["B", "NK"]), "blood", [MappedLabel(2, "blood", "T", ("T cell",))])
    with pytest.raises(InputError, match="it has none"):
        label_matching.apply_label_map(cells(batch=["a"]), "blood", [MappedLabel(2, "blood", "T", ("T cell",))])


def test_cells_of_a_dataset_that_is_not_in_the_map_are_the_same_table():
    given = cells(label=["B"])
    assert label_matching.apply_label_map(given, "blood", [MappedLabel(2, "marrow", "B", ("x",))]) is given
