"""The format of log lines on standard error: for a terminal, or JSON, one object a line.

Tracebacks have no local variables, since these may be ICE passwords and SRTP keys.
"""

import logging
import sys
import unicodedata
from io import StringIO
from typing import TextIO

import structlog


def configure_logs(log_format: str) -> None:
    """Configure the format of all log lines: `console` or `json`."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_printable_traceback)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_before(log_format), renderer],
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(_is_no_early_end)
    for verbose in ("uvicorn", "uvicorn.error", "aiortc", "aioice", "libav"):
        logging.getLogger(verbose).setLevel(logging.WARNING)


def _is_no_early_end(record: logging.LogRecord) -> bool:
    """Drop uvicorn's complaint about responses that we end early on purpose, when the client does not read."""
    return record.msg != "ASGI callable returned without completing response."


def _before(log_format: str) -> list[structlog.typing.Processor]:
    """Return the processors before the renderer. JSON is escaped anyway; a terminal would obey escape sequences."""
    if log_format != "json":
        return [_escape_values]
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer)]


def _escape_values(_logger: object, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape every text, so that it stays on one line and has no escape sequence."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in entry.items()}


def printable(text: str, kept: str = "") -> str:
    """Return a text with control and format characters, line separators and lone surrogates escaped."""
    if text.isprintable():
        return text
    return "".join(each if each in kept or _is_harmless(each) else _escape(each) for each in text)


def _is_harmless(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _printable_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(printable(text.getvalue(), kept="\n\t"))
