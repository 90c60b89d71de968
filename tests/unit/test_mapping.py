"""Facts of a mapping, worked out by hand."""

from types import SimpleNamespace

import pandas as pd
import pytest

from refatlas.models import mapping


def test_late_fall_by_hand():
    training = SimpleNamespace(monitor="elbo", history=pd.DataFrame({"elbo": [200.0, 100.0, *[98.0] * 9, 99.0]}))
    assert mapping.late_fall(training) == pytest.approx(0.01)
    assert mapping.late_fall(SimpleNamespace(monitor=None, history=pd.DataFrame())) == 0.0
