"""The table of inference engines."""

from typing import get_args

from safety_operator.api.common import Serving
from safety_operator.children.runtimes import RUNTIMES


def test_every_engine_that_a_spec_may_name_is_in_the_table_and_no_other():
    assert set(get_args(Serving.model_fields["runtime"].annotation)) == set(RUNTIMES)
