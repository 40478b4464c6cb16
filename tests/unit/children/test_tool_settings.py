"""What the gateway is told of tools."""

import json
from dataclasses import replace

from tests.unit.children.test_guardrails import CONFIG

from safety_gateway.settings import Settings
from safety_operator.api.guarded_tools import ToolCalls
from safety_operator.children.guardrails import build_rails_files


def test_the_gateway_reads_what_the_spec_says_of_tools():
    rules = ToolCalls(allowed=["search"], max_argument_bytes=99, check_results=False)
    text = rules.model_dump_json(by_alias=True, exclude_defaults=True)
    settings = build_rails_files(replace(CONFIG, tool_calls=text)).data["gateway.json"]
    found = Settings.model_validate_json(settings).tool_calls
    assert found.allowed == {"search"}
    assert (found.max_argument_bytes, found.check_calls, found.check_results) == (99, True, False)
    assert "toolCalls" not in json.loads(build_rails_files(CONFIG).data["gateway.json"])
