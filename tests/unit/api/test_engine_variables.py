"""Variables of a server's pods by which an engine would serve something else than the spec says."""

import pytest
import yaml
from tests.manifests import MANIFESTS

from safety_operator.schema.rules import find_mistakes

SMALLEST = (MANIFESTS / "smallest/guardeddeployments.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("NIM_PASSTHROUGH_ARGS", "--quantization fp8", False),
        ("NIM_MODEL_PATH", "hf://org/other", False),
        ("VLLM_MODEL_REDIRECT_PATH", "redirects", False),
        ("VLLM_TUNED_CONFIG_FOLDER", "/artifacts/x", False),
        ("NIM_FT_MODEL", "//artifacts/x", False),
        ("NIM_FT_MODEL", "/opt/x", True),
        ("PYTHONPATH", "/artifacts/stand-in", True),
        ("VLLM_LOGGING_LEVEL", None, True),
    ],
)
def test_variables_of_the_engine_put_nothing_in_the_place_of_the_model(name, value, right):
    variable = {"name": name} | ({} if value is None else {"value": value})
    manifest = yaml.safe_load(SMALLEST)
    manifest["spec"]["pod"] = {"roles": {"server": {"env": [variable]}}}
    mistakes = find_mistakes(manifest)
    assert all("digest" in mistake.message for mistake in mistakes)
    assert (mistakes == []) is right
