"""Who takes part in a contrast, which pseudobulk samples there are, and which designs are refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import sheet_row
from refatlas.config.contrasts import complete_contrasts
from refatlas.differential.design import fit_design, formula_of, pseudobulk_samples
from refatlas.differential.participants import Source, read_participants
from refatlas.differential.plan import plan_contrast
from refatlas.errors import InputError


def contrast_of(**settings) -> dict:
    given = {"condition": "disease", "groups": ["ill", "well"], "sample": "donor", **settings}
    return complete_contrasts({"contrasts": {"c": given}, "gene_sets": None})["contrasts"]["c"]


@pytest.fixture
def source(tmp_path):
    """A function that returns a file with these cell columns as a source, each of its cells in one batch."""

    def make(name: str = "a", is_query: bool = False, keep=None, **columns) -> dict[str, Source]:
        n = len(next(iter(columns.values())))
        obs = pd.DataFrame({key: list(values) for key, values in columns.items()}, index=[f"c{i}" for i in range(n)])
        path = tmp_path / f"{name}.h5ad"
        ad.AnnData(sparse.csr_matrix(np.ones((n, 3), np.float32)), obs=obs).write_h5ad(path)
        cells = pd.DataFrame(
            {"barcode": obs.index, "batch": f"{name}:{name}", "keep": True if keep is None else keep},
            index=pd.Index(f"{name}:" + obs.index, name="cell"),
        )
        return {name: Source(sheet_row(path), cells, is_query)}

    return make


def planned(sources, **settings):
    return plan_contrast("c", sources, contrast_of(**settings))


ILL = ["ill"] * 2 + ["well"] * 2
FOUR = {"disease": ILL, "donor": [1, 2, 3, 4]}


def test_samples_are_those_of_the_two_groups(source):
    cells, samples, notes = planned(
        source(disease=[*ILL, "other", None, "ill"], donor=[1, 2, 3, 4, 5, 6, 1], keep=[True] * 6 + [False])
    )
    assert cells.index.tolist() == ["a:c0", "a:c1", "a:c2", "a:c3"]
    assert samples[["donor", "disease", "n_cells", "files"]].to_numpy().tolist() == [
        ["1", "ill", 1, "a"],
        ["2", "ill", 1, "a"],
        ["3", "well", 1, "a"],
        ["4", "well", 1, "a"],
    ]
    assert notes["design"] == "~ disease"
    assert notes["notes"] == [
        "a: 1 cells without a condition take no part",
        "a: cells of other groups take no part: other",
    ]


def test_all_cells_of_a_query_may_take_part(source):
    cells, *_ = planned(source(**FOUR, is_query=True, keep=False))
    assert len(cells) == 4


def test_numbers_and_truth_values_are_groups_as_well(source):
    _, samples, _ = planned(source(disease=[1.0, 1.0, 0.0, 0.0], donor="wxyz"), groups=[1, 0])
    assert samples["disease"].tolist() == ["1", "1", "0", "0"]
    _, samples, _ = planned(source(disease=[True, True, False, False], donor="wxyz"), groups=[True, False])
    assert samples["disease"].tolist() == ["True", "True", "False", "False"]


def test_files_without_the_columns_are_left_out_and_named(source):
    _, samples, notes = planned({**source(**FOUR), **source("b", sex=["f"])})
    assert set(samples["files"]) == {"a"}
    assert notes["notes"] == ["left out: b lacks 'disease', 'donor' (it has sex)"]


def test_the_name_in_the_sheet_is_a_condition(source):
    both = {**source("ctrl", donor=[1, 2]), **source("stim", donor=[1, 2])}
    _, samples, notes = planned(both, condition="dataset", groups=["stim", "ctrl"], covariates=["donor"])
    assert samples["donor"].tolist() == ["1", "1", "2", "2"]
    assert notes["warnings"][0].startswith("condition 'dataset' is confounded with the files (ctrl, stim)")


def test_a_sample_with_both_groups_makes_two_pseudobulk_samples(source):
    pairs = source(disease=["ill", "well"] * 3, donor=[1, 1, 2, 2, 3, 3])
    _, samples, notes = planned(pairs)
    assert samples["donor"].tolist() == ["1", "1", "2", "2", "3", "3"]
    assert "samples with both groups: 1, 2, 3; with 'donor' among the covariates" in notes["warnings"][0]
    contrast = contrast_of(covariates=["donor"])
    _, samples, notes = plan_contrast("c", pairs, contrast)
    assert notes["warnings"] == []
    design = fit_design(samples, contrast)
    assert design.matrix.shape == (6, 4)
    assert design.contrast.tolist() == [0, 0, 0, -1]


def test_swapped_groups_give_the_opposite_contrast(source):
    _, samples, _ = planned(source(**FOUR))
    one, other = (fit_design(samples, contrast_of(groups=groups)) for groups in (["ill", "well"], ["well", "ill"]))
    pd.testing.assert_frame_equal(one.matrix, other.matrix)
    assert (one.contrast == -other.contrast).all()


def test_numbers_are_scaled_and_categories_are_not_numbers(source):
    cells = source(disease=ILL * 2, donor=range(8), age=[20, 30, 40, 50, 60, 30, 20, 70], run=[1, 2, 1, 2, 1, 2, 1, 2])
    contrast = contrast_of(covariates=["age", "run"], continuous=["age"])
    _, samples, _ = plan_contrast("c", cells, contrast)
    matrix = fit_design(samples, contrast).matrix
    assert list(matrix) == ["Intercept", "age", "run[T.2]", "disease[T.well]"]
    assert matrix["age"].abs().max() == 1
    assert matrix["age"].sum() == pytest.approx(0)


def test_a_formula_may_transform_and_quote(source):
    cells = source(**{"disease": ILL * 2, "donor": range(8), "my age": [20, 30, 40, 50, 60, 30, 20, 70]})
    contrast = contrast_of(design="~ log(`my age`) + disease", continuous=["my age"])
    _, samples, notes = plan_contrast("c", cells, contrast)
    assert fit_design(samples, contrast).matrix.iloc[:, 1].max() == pytest.approx(np.log(70))
    assert notes["design"] == "~ log(`my age`) + disease"
    assert formula_of(contrast_of(covariates=["my age"])) == "~ `my age` + disease"


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"donor": [1]}, {}, r"no file has all columns of the contrast \('disease', 'donor'\): a lacks 'disease'"),
        (
            FOUR,
            {"groups": ["sick", "well"]},
            r"groups: no cell has 'sick' in column 'disease'; its values are 'ill', 'well'",
        ),
        ({**FOUR, "donor": [1, 2, None, 4]}, {}, r"1 cells of the two groups have no value in column 'donor' \(a:c2\)"),
        ({**FOUR, "donor": [1, 1, 3, 4]}, {}, r"group 'ill' has 1 sample by column 'donor' \(1\); need 2"),
        (
            {**FOUR, "sex": "ffmm"},
            {"covariates": ["sex"]},
            r"condition 'disease' is confounded with 'sex': each value .* has one group alone \(ill: f; well: m\)",
        ),
        (FOUR, {"covariates": ["donor"]}, "condition 'disease' is confounded with 'donor'"),
        (
            {**FOUR, "sex": "fmfm", "x": "abab"},
            {"covariates": ["sex", "x"]},
            r"cannot be fitted: what 'x\[T\.b\]' would add follows from its other columns together",
        ),
        (
            {**FOUR, "sex": "fmfm", "donor": [1, 1, 2, 2]},
            {"covariates": ["sex"], "sample": "donor"},
            r"column 'sex' has 2 values in sample '1' of group 'ill' \(f, m\)",
        ),
        ({**FOUR, "age": "abcd"}, {"covariates": ["age"], "continuous": ["age"]}, "column 'age' has 'a', which is no"),
        ({**FOUR, "x": "abca"}, {"covariates": ["x"]}, r"4 coefficients for 4 samples"),
        ({**FOUR, "sex": "fmfm"}, {"design": "~ sex * disease"}, r"depends on other columns \(an interaction\)"),
        (FOUR, {"design": "~ disease +"}, "is no formula"),
        (FOUR, {"design": "~ donor # disease"}, "is no formula|has the columns"),
        ({**FOUR, "reason": "abab"}, {"covariates": ["reason"]}, "'reason' has the name of a column of samples.csv"),
        ({**FOUR, "share": [1, 2, 3, 4]}, {"sample": "share"}, "'share' has the name of a column of abundance_samples"),
    ],
)
def test_designs_that_cannot_be_are_refused(source, columns, settings, message):
    with pytest.raises(InputError, match=f"^config: differential: contrasts: c: .*({message})"):
        planned(source(**columns), **settings)


def test_a_group_of_one_file_alone_is_refused_unless_it_is_allowed(source):
    files = {**source("a", disease=["ill"] * 2, donor=[1, 2]), **source("b", disease=["well"] * 2, donor=[3, 4])}
    with pytest.raises(InputError, match=r"confounded with the files \(a, b\): none has both groups.*allow_confounded"):
        planned(files)
    *_, notes = planned(files, allow_confounded=True)
    assert len(notes["warnings"]) == 2
    # One file a sample is usual.
    files = {name: source(name, disease=[group], donor=[name])[name] for name, group in zip("wxyz", ILL, strict=True)}
    assert planned(files)[2]["warnings"] == []


def test_samples_of_one_name_in_two_files_are_one_and_said(source):
    files = {**source("a", **FOUR), **source("b", **{**FOUR, "donor": [1, 9, 3, 8]})}
    _, samples, notes = planned(files)
    assert samples["files"].tolist() == ["a | b", "a", "a | b", "a", "b", "b"]
    assert notes["warnings"] == ["samples of one name in several files are taken as one sample: 1, 3"]


def test_the_columns_of_the_design_alone_are_read(source):
    cells, notes = read_participants(source(**FOUR, other=[1, 2, 3, 4]), contrast_of(), ["disease"])
    assert list(cells) == ["(file)", "batch", "disease", "donor"]
    assert notes == []
    samples = pseudobulk_samples(cells, contrast_of(), ["disease"])
    assert list(samples) == ["donor", "disease", "n_cells", "files", "batches"]
