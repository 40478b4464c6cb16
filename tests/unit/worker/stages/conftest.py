"""A blend to run."""

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.blend_runs import Blend


@pytest.fixture
def blend(workplace: Workplace) -> Blend:
    return Blend(workplace)
