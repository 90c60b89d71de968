"""Tables of several models as one."""

import pandas as pd

from refatlas.evaluate.tables import stack_tables


def test_tables_without_rows_add_none(tmp_path):
    empty, first, second = (str(tmp_path / f"{name}.csv") for name in ("empty", "first", "second"))
    pd.DataFrame(columns=["model", "value"]).to_csv(empty, index=False)
    pd.DataFrame({"model": ["NA"], "value": [1.5]}).to_csv(first, index=False)
    pd.DataFrame({"model": ["m"], "value": [2.0]}).to_csv(second, index=False)
    assert stack_tables([empty, first, second]).values.tolist() == [["NA", 1.5], ["m", 2.0]]
    assert list(stack_tables(iter([empty])).columns) == ["model", "value"]
