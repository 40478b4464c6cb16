"""Logs without anybody's words.

Libraries quote what users and models said: NeMo Guardrails the parameters of a rail that failed, clients the
body of an answer, a traceback the text of its error, an access log the query.
"""

import logging
from typing import Any

from safety_gateway.errors import causes_of

OWN = "safety_gateway"
"""Loggers of the application itself, which never hold a word of a conversation."""
SERVER_LOG = "uvicorn.error"
"""Logger of the server's start and end; its warnings and errors are about requests."""


def keep_words_out_of_logs() -> None:
    """From now on a library's record says where it was made and what kinds of error it tells of, no more."""
    make = logging.getLogRecordFactory()

    def make_wordless(*args: Any, **fields: Any) -> logging.LogRecord:
        record = make(*args, **fields)
        own = record.name.partition(".")[0] == OWN
        if not own and (record.levelno >= logging.WARNING or record.name != SERVER_LOG):
            silence(record)
        return record

    logging.setLogRecordFactory(make_wordless)
    logging.getLogger("nemoguardrails").setLevel(logging.WARNING)


def silence(record: logging.LogRecord) -> None:
    """Replace a record's text by its place, and by the types of the errors that it tells of."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    kinds = [type(cause).__name__ for cause in causes_of(error)]
    cause = f" ({', caused by '.join(kinds)})" if kinds else ""
    record.msg = f"{record.module}, line {record.lineno}{cause}"
    record.args, record.exc_info, record.exc_text, record.stack_info = (), None, None, None
