import logging
from collections.abc import Iterator

import pytest

from safety_gateway.logs import keep_words_out_of_logs

WORDS = "my-diagnosis-42"


@pytest.fixture(autouse=True)
def wordless() -> Iterator[None]:
    factory, level = logging.getLogRecordFactory(), logging.getLogger("nemoguardrails").level
    keep_words_out_of_logs()
    yield
    logging.setLogRecordFactory(factory)
    logging.getLogger("nemoguardrails").setLevel(level)


def fail() -> None:
    try:
        {}[WORDS]
    except KeyError as error:
        raise RuntimeError(WORDS) from error


def test_a_library_says_where_and_which_errors_and_no_words(caplog: pytest.LogCaptureFixture):
    log = logging.getLogger("nemoguardrails.actions")
    log.warning("parameters: %s", WORDS)
    try:
        fail()
    except RuntimeError:
        log.exception("failed on %s", WORDS)
    assert WORDS not in caplog.text
    assert "RuntimeError, caused by KeyError" in caplog.text
    assert "test_logs, line" in caplog.text


@pytest.mark.parametrize(("name", "kept"), [("uvicorn.error", True), ("uvicorn.access", False)])
def test_the_servers_start_is_told_and_its_requests_are_not(
    name: str, kept: bool, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        logging.getLogger(name).info("about %s", WORDS)
    assert (WORDS in caplog.text) == kept


def test_the_applications_own_lines_are_as_they_are(caplog: pytest.LogCaptureFixture):
    logging.getLogger("safety_gateway.nemo").warning("no verdict: rail=%s", "content safety check input")
    logging.getLogger("safety_gatewayx").warning("%s", WORDS)
    assert "no verdict: rail=content safety check input" in caplog.text
    assert WORDS not in caplog.text
