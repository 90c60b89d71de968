"""Input files that change while a run reads them are noticed; so are times in the future."""

import json
import os
import time
from types import SimpleNamespace

import pytest
from conftest import sheet_row, small_counts

from refatlas.errors import InputError
from refatlas.io.fingerprints import fingerprints, read_fingerprints, require_not_in_future, require_unchanged


def test_files_that_hold_still_are_read(tmp_path):
    (tmp_path / "a").write_text("abc")
    (tmp_path / "scan.json").write_text(json.dumps({"files": fingerprints([tmp_path / "a", tmp_path / "none"])}))
    assert [size for size, _ in read_fingerprints([str(tmp_path / "scan.json")]).values()] == [3]


@pytest.mark.parametrize("older", [-5, 5])
def test_a_changed_file_is_refused_with_what_it_was_and_is(tmp_path, older):
    file = tmp_path / "a"
    file.write_text("abc")
    recorded = fingerprints([file])
    file.write_text("abcd")
    with pytest.raises(
        InputError, match=r"a: the file changed while this run was going on: it had 3 bytes of .*, and now has 4 bytes"
    ):
        require_unchanged(recorded)
    file.write_text("xyz")
    os.utime(file, (time.time() + older, time.time() + older))
    with pytest.raises(InputError, match="changed while this run"):
        require_unchanged(recorded)
    file.unlink()
    with pytest.raises(InputError, match="no longer there"):
        require_unchanged(recorded)


def test_a_time_in_the_future_is_refused(tmp_path):
    file = tmp_path / "a"
    file.write_text("")
    require_not_in_future([str(file), str(tmp_path / "none")])
    os.utime(file, (time.time() + 3600, time.time() + 3600))
    with pytest.raises(InputError, match=r"a: its time of change, .*, is in the future.*touch"):
        require_not_in_future([str(file)])


def test_a_dataset_that_changes_while_it_is_scanned_leaves_no_tables(tmp_path, scripts, config, monkeypatch):
    path = tmp_path / "a.h5ad"
    small_counts().write_h5ad(path)
    script = scripts("scan_dataset")
    scan = script.scan

    def slow_scan(*arguments):
        found = scan(*arguments)
        os.utime(path, (1, 1))
        return found

    monkeypatch.setattr(script, "scan", slow_scan)
    job = SimpleNamespace(
        input=SimpleNamespace(files=[str(path)]),
        params=SimpleNamespace(row=sheet_row(path), qc=config["qc"], unlabeled=config["unlabeled"], seed=0),
        wildcards=SimpleNamespace(dataset="a"),
        output=SimpleNamespace(
            cells=str(tmp_path / "cells.parquet"),
            genes=str(tmp_path / "genes.parquet"),
            summary=str(tmp_path / "scan.json"),
        ),
        threads=1,
    )
    with pytest.raises(InputError, match="changed while this run"):
        script.main(job)
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5ad"]
