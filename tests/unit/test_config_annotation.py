"""The annotation of clusters as people write it: what is read, and what is refused."""

import pytest

from refatlas.config.annotation import named_levels, parse_annotation, read_annotation
from refatlas.config.label_map import MappedLabel
from refatlas.config.labels import check_label_levels, has_labels, label_levels, without_labels
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

HEADER = "model\tresolution\tcluster\tlabel\tlabel_2\texclude\tnote\tby\theld\n"


@pytest.fixture
def write(tmp_path):
    """A function that writes an annotation and returns its path."""

    def annotation(*rows: str, header: str = HEADER) -> str:
        path = tmp_path / "annotation.tsv"
        path.write_text(header + "".join(row + "\n" for row in rows))
        return str(path)

    return annotation


def refused(path: str, **config) -> str:
    with pytest.raises(InputError) as error:
        read_annotation(path, complete_config({"reference": "reference.tsv", **config}))
    return str(error.value)


def test_rows_are_read_as_a_spreadsheet_writes_them(write):
    path = write(
        "scvi\t1.0\t0.0\tT\timmune\tno\tCD3\tAnn\th", "scvi\t1\t1\t\t\tYES\tdoublets\t\th", "scvi\t1\t2\t\t\t\t\t\t"
    )
    first, second, third = read_annotation(path, complete_config({"reference": "reference.tsv"}))
    assert (first.resolution, first.cluster, first.labels, first.note, first.by) == (
        "1",
        "0",
        ("T", "immune"),
        "CD3",
        "Ann",
    )
    assert (second.labels, second.exclude, second.decided) == ((), True, True)
    assert not third.decided
    assert named_levels([first, second, third]) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("scvy\t1\t0\tT\tx\t\t\t\t", "model 'scvy' is not in the config's models (did you mean 'scvi'?); there are"),
        ("scanvi\t1\t0\tT\tx\t\t\t\t", "model 'scanvi' is trained with the labels"),
        (
            "scvi\t0.7\t0\tT\tx\t\t\t\t",
            "resolution '0.7' is not in the config's clusters.resolutions; there are '0.25'",
        ),
        ("scvi\t1\tT cells\tT\tx\t\t\t\t", "cluster 'T cells' is no number"),
        ("scvi\t1\t0\tT\tx\tmaybe\t\t\t", "exclude 'maybe' is neither yes nor no"),
        ("scvi\t1\t0\t\t\t\t\t\t", "no cluster has a label"),
        ("scvi\t1\t0\t__unlabeled__\tx\t\t\t\t", "is reserved for models"),
        ("scvi\t1\t0\tT\tx\t\t\t\t\nscvi\t1", "annotation.tsv, line 3: the cluster is empty; copy model, resolution"),
        ("scvi", "annotation.tsv, line 2: the resolution is empty"),
        ("\t1\t0\tT", "annotation.tsv, line 2: the model is empty"),
        *(
            (f"scvi\t1\t0\t{label}\t\t\t\t\t", f"line 2: label '{label}' means \"no label\"")
            for label in ("-", "Unknown", "unassigned")
        ),
        (
            "scvi\t1\t0\tT\t-\t\t\t\t",
            "label '-' means \"no label\", here or in the config's unlabeled; leave the label",
        ),
    ],
)
def test_a_wrong_row_is_refused_with_what_exists(write, row, words):
    assert words in refused(write(row)).replace("there are scvi", "there are 'scvi'").replace(
        "there are 0.25", "there are '0.25'"
    )


def test_what_the_config_does_not_call_unlabeled_is_a_name(write):
    path = write("scvi\t1\t0\tUnknown\tx\t\t\t\t")
    rows = read_annotation(path, complete_config({"reference": "reference.tsv", "unlabeled": ["none"]}))
    assert rows[0].labels == ("Unknown", "x")


def test_a_cluster_is_named_once(write):
    message = refused(write("scvi\t1\t0\tT\tx\t\t\t\t", "scvi\t1.0\t0\tB\tx\t\t\t\t"))
    assert "line 3: cluster 0 of scvi, resolution 1, is named in line 2 already" in message


def test_clusters_of_one_model_are_named(write):
    models = {"scvi": {"type": "scvi"}, "other": {"type": "scvi"}}
    path = write("scvi\t1\t0\tT\tx\t\t\t\t", "other\t1\t0\tB\tx\t\t\t\t")
    assert "names clusters of several models" in refused(path, models=models)


def test_every_name_has_one_coarser_name(write):
    assert "belongs to 'B' here and to 'immune'" in refused(
        write("scvi\t1\t0\tT\timmune\t\t\t\t", "scvi\t1\t1\tT\tB\t\t\t\t")
    )
    assert "has names at 1 of 2 levels" in refused(write("scvi\t1\t0\tT\timmune\t\t\t\t", "scvi\t1\t1\tB\t\t\t\t\t"))


def test_missing_files_and_columns_are_named(write, tmp_path):
    assert "does not exist" in refused(str(tmp_path / "none.tsv"))
    assert "no column 'cluster'" in refused(write("scvi\t1\tT", header="model\tresolution\tlabel\n"))
    assert "name them label, label_2" in refused(
        write("scvi\t1\t0\tT\tx", header="model\tresolution\tcluster\tlabel\tlabel_3\n")
    )
    assert "occurs twice" in refused(write("scvi\t1\t0\tT\tx", header="model\tresolution\tcluster\tlabel\tlabel\n"))


def test_a_tab_within_a_note_is_noticed(write):
    assert "line 2: 10 values for 9 columns" in refused(write("scvi\t1\t0\tT\tx\t\tCD3\tand more\tAnn\th"))


def test_without_clusters_nothing_can_be_named(write):
    config = {"reference": "r.tsv", "annotation": write("scvi\t1\t0\tT\tx\t\t\t\t"), "clusters": {"resolutions": []}}
    with pytest.raises(InputError, match=r"clusters.resolutions is empty"):
        complete_config(config)


def test_without_labels_what_needs_them_is_left_out_and_named():
    config = complete_config(
        {"reference": "r.tsv", "tree": {"models": ["scvi"]}, "evaluation": {"folds": 5, "hide": 1}}
    )
    left, notes = without_labels(config)
    assert list(left["models"]) == ["scvi", "linear"]
    assert left["evaluation"]["folds"] == left["evaluation"]["hide"] == 0
    assert left["deliver"]["model"] == "scvi"
    assert left["tree"]["models"] == []
    assert len(notes) == 3
    assert all(note.endswith("set label_key for a dataset, or annotate the clusters") for note in notes)


def test_labels_come_from_datasets_or_the_annotation(write):
    unlabelled, labelled = {"a": {"label_keys": []}}, {"a": {"label_keys": []}, "b": {"label_keys": ["fine", "coarse"]}}
    named = parse_annotation(write("scvi\t1\t0\tT\t\t\t\t\t"))
    taken_out = parse_annotation(write("scvi\t1\t0\t\t\tyes\t\t\t"))
    assert not has_labels(unlabelled, [])
    assert has_labels(labelled, [])
    assert has_labels(unlabelled, named)
    assert not has_labels(unlabelled, taken_out)
    check_label_levels(labelled, taken_out, [], "annotation.tsv")
    with pytest.raises(InputError, match=r"1 label level, and dataset 'b' has 2 \(fine, coarse\)"):
        check_label_levels(labelled, named, [], "annotation.tsv")


def test_a_label_map_adds_levels(write):
    datasets = {"a": {"label_keys": ["fine"]}, "b": {"label_keys": []}}
    mapped = [MappedLabel(2, "a", "CD4", ("CD4 T", "T")), MappedLabel(3, "a", "junk", ("-",))]
    assert label_levels(datasets, [], []) == 1
    assert label_levels(datasets, [], mapped) == 2
    one = parse_annotation(write("scvi\t1\t0\tT\t\t\t\t\t"))
    two = parse_annotation(write("scvi\t1\t0\tT\tL\t\t\t\t"))
    check_label_levels(datasets, two, mapped, "annotation.tsv")
    with pytest.raises(InputError, match=r"1 label level, and dataset 'a' has 2 \(by the label map\)"):
        check_label_levels(datasets, one, mapped, "annotation.tsv")
    # A label that is only taken away adds no level.
    check_label_levels(datasets, one, mapped[1:], "annotation.tsv")
