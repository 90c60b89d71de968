"""Memory that jobs ask for, and the choice of where counts are during training."""

from types import SimpleNamespace

import pytest

from conftest import NamedPaths
from refatlas import resources
from refatlas.errors import InputError
from refatlas.models.registry import MODEL_TYPES


@pytest.mark.parametrize(
    ("from_disk", "mem_mb", "kind", "expected"),
    [
        ("auto", 3000, "scvi", False),
        ("auto", 1400, "scvi", True),
        ("always", 3000, "scanvi", True),
        ("never", 1400, "scvi", False),
        ("always", 1400, "trvae", False),
    ],
)
def test_counts_stay_on_disk_where_they_do_not_fit(stored, capsys, from_disk, mem_mb, kind, expected):
    assert resources.stays_on_disk("mine", kind, stored, from_disk, mem_mb) == expected
    printed = capsys.readouterr().out
    assert ("trains from disk" in printed) == expected
    assert ("Warning: mine: training takes about" in printed) == (mem_mb == 1400 and not expected)


@pytest.mark.parametrize(
    ("from_disk", "kind", "remedy"),
    [("never", "scvi", "from_disk to auto"), ("auto", "trvae", "scanvi"), ("always", "totalvi", "genes.n_top")],
)
def test_what_cannot_fit_the_machine_is_refused(stored, monkeypatch, from_disk, kind, remedy):
    monkeypatch.setattr(resources, "machine_mb", lambda: 0.1)
    with pytest.raises(InputError, match=rf"models: mine: the counts take 0 MB, and this machine has 0 MB; .*{remedy}"):
        resources.stays_on_disk("mine", kind, stored, from_disk, 3000)
    assert resources.stays_on_disk("mine", "scvi", stored, "auto", 3000)


def test_machine_has_memory():
    assert 100 < resources.machine_mb() < 1e8


def test_types_that_train_from_disk_are_known():
    assert {kind for kind, known in MODEL_TYPES.items() if known.from_disk} == {
        *("linear", "scvi", "scanvi", "drvi", "embedding"),
    }


def test_memory_is_set_in_the_config(config):
    assert config["memory"] == {"from_disk": "auto", "max_mb": 32000}


def test_a_rule_asks_for_time_by_the_size_of_an_input(tmp_path):
    for name, size in (("large", 3 * 2**20), ("small", 2**19)):
        (tmp_path / name).write_bytes(bytes(size))

    class Input(dict):
        def __iter__(self):
            return iter(self.values())

    files = Input(large=str(tmp_path / "large"), query=str(tmp_path / "small"))
    assert resources.minutes(60)(None, files, 2) == 120
    assert resources.minutes(60, per_input_mb=2)(None, files, 1) == 67
    assert resources.minutes(60, per_input_mb=4, of="query")(None, files, 2) == 124


@pytest.mark.parametrize(("model", "requested"), [("mine", 240), ("linear", 20)])
def test_a_type_without_use_for_a_gpu_requests_less_time(model, requested):
    runtime = resources.minutes_by_type(
        {"mine": {"type": "scvi"}, "linear": {"type": "linear"}},
        on_gpu=resources.minutes(120),
        on_cpu=resources.minutes(10),
    )
    assert runtime(SimpleNamespace(model=model), None, 2) == requested


def test_markers_by_models_ask_for_draws_and_drawn_cells_and_twice_as_much_at_a_retry(stored):
    files = SimpleNamespace(counts=stored, model=stored)
    first, again = (resources.marker_mem_mb(500, 5000)(None, files, attempt) for attempt in (1, 2))
    assert again == pytest.approx(2 * first, abs=1)
    # Measured: 1,403 MB with 5,000 draws of 1,287 genes.
    assert 1403 < first < 4000
    assert first - resources.marker_mem_mb(500, 1000)(None, files, 1) == pytest.approx(
        12 * 4000 * 4000 * 4 / 1e6, abs=1
    )


def test_a_model_made_elsewhere_asks_for_the_memory_of_its_embeddings(stored, tmp_path):
    (tmp_path / "a.parquet").write_bytes(bytes(50 * 2**20))
    embedding = {"embedding:a": str(tmp_path / "a.parquet")}
    models, memory = {"made": {"type": "embedding"}}, {"from_disk": "auto", "max_mb": 32000}
    job, files = (
        SimpleNamespace(model="made"),
        {"counts": stored, "query": stored, "reference": stored, "model": stored},
    )
    for mem_mb in (resources.training_mem_mb(models, memory), resources.mapping_mem_mb(models)):
        less, more = (mem_mb(job, NamedPaths(**files, **found), 1) for found in ({}, embedding))
        assert more - less == pytest.approx(200, abs=2)
