"""OpenAI's own client for JavaScript at the running gateway."""

import json
import os
import subprocess
from pathlib import Path

from tests.clients.agents_model import CITIES, END
from tests.clients.conftest import KEY

AGENT = Path(__file__).with_name("agent.cjs")


def test_an_agent_calls_its_tool_three_times_and_errors_are_the_clients_own(endpoint: str):
    environment = os.environ | {"ENDPOINT": endpoint, "KEY": KEY}
    done = subprocess.run(
        ["node", str(AGENT)], env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    said = {"called": list(CITIES), "text": END}
    assert json.loads(done.stdout) == {
        "whole": said,
        "streamed": said,
        "stream": {"text": "Paris.", "tokens": 18},
        "blocked": "content_filter",
        "errors": ["NotFoundError", "BadRequestError", "InternalServerError", "AuthenticationError"],
    }
