"""The API server and the evaluation without one find the same mistakes in the same words."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.integration.apiserver import ApiServer
from tests.unit.api.test_agreement import spec_values

from safety_operator.api.kinds import KINDS, Kind
from safety_operator.schema.rules import find_mistakes

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@pytest.fixture
def server(bare_server: ApiServer) -> ApiServer:
    return bare_server


def answered(server: ApiServer, kind: Kind, manifest: dict[str, Any]) -> set[tuple[str, str]]:
    """Field and message of all that the API server finds."""
    answer = server.post("default", kind.plural, json.dumps(manifest), dry_run=True)
    if answer.is_success:
        return set()
    return {(cause["field"], cause["message"]) for cause in answer.json()["details"]["causes"]}


@every_kind
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(data=st.data())
def test_any_spec_is_told_the_same(server: ApiServer, kind: Kind, data: st.DataObject) -> None:
    spec = data.draw(spec_values(kind.plural))
    manifest = {
        "apiVersion": "modelsafety.dev/v1alpha1",
        "kind": kind.kind,
        "metadata": {"name": "drawn"},
        "spec": spec,
    }
    found = find_mistakes(copy.deepcopy(manifest))
    causes = answered(server, kind, manifest)
    assert {mistake.field for mistake in found} == {field for field, _ in causes}
    for mistake in found:
        assert any(field == mistake.field and mistake.message in said for field, said in causes), mistake
