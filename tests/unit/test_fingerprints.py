"""Input files that change during a run, or have times in the future, are refused."""

import json
import os
import time

import pytest

from refatlas.errors import InputError
from refatlas.io.fingerprints import (
    checksums,
    fingerprints,
    read_fingerprints,
    require_not_in_future,
    require_unchanged,
)


def test_unchanged_files_are_read(tmp_path):
    (tmp_path / "a").write_text("abc")
    (tmp_path / "scan.json").write_text(json.dumps({"files": fingerprints([tmp_path / "a", tmp_path / "none"])}))
    assert [size for size, _ in read_fingerprints([str(tmp_path / "scan.json")]).values()] == [3]


@pytest.mark.parametrize("older", [-5, 5])
def test_a_changed_file_is_refused_with_both_sizes(tmp_path, older):
    file = tmp_path / "a"
    file.write_text("abc")
    recorded = fingerprints([file])
    file.write_text("abcd")
    with pytest.raises(InputError, match=r"a: the file changed during this run: it had 3 bytes.*, and now has 4 bytes"):
        require_unchanged(recorded)
    file.write_text("xyz")
    os.utime(file, (time.time() + older, time.time() + older))
    with pytest.raises(InputError, match="changed during this run"):
        require_unchanged(recorded)
    file.unlink()
    with pytest.raises(InputError, match="does not exist any more"):
        require_unchanged(recorded)


def test_a_time_in_the_future_is_refused(tmp_path):
    file = tmp_path / "a"
    file.write_text("")
    require_not_in_future([str(file), str(tmp_path / "none")])
    os.utime(file, (time.time() + 3600, time.time() + 3600))
    with pytest.raises(InputError, match=r"a: its modification time, .*, is in the future.*touch"):
        require_not_in_future([str(file)])


def test_checksums_have_size_and_time(tmp_path):
    (tmp_path / "a").write_text("abc")
    os.utime(tmp_path / "a", (0, 0))
    assert checksums([tmp_path / "a"]) == {
        str(tmp_path / "a"): {
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "bytes": 3,
            "modified": "1970-01-01T00:00:00+00:00",
        }
    }
