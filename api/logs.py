"""How log lines look: for people at a terminal, or as JSON, one object a line. Both go to standard error.

Tracebacks show no local variables: passwords of ICE and keys of SRTP are among them.
"""

import logging
import sys
import unicodedata
from io import StringIO
from typing import TextIO

import structlog


def configure_logs(log_format: str) -> None:
    """Set the form of all log lines; `console` or `json`."""
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
    for chatty in ("uvicorn", "uvicorn.error", "aiortc", "aioice", "libav"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_no_early_end(record: logging.LogRecord) -> bool:
    """Answers to who takes nothing are ended early by intent; uvicorn takes that for a mistake."""
    return record.msg != "ASGI callable returned without completing response."


def _before(log_format: str) -> list[structlog.typing.Processor]:
    """Give what comes before the renderer: JSON has escapes of its own, a terminal would obey what strangers sent."""
    if log_format != "json":
        return [_escape_values]
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer)]


def _escape_values(_logger: object, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape every text, so that a line stays one line and moves no cursor."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in entry.items()}


def printable(text: str, kept: str = "") -> str:
    """Give a text with escapes in place of control and format characters, separators of lines and lone surrogates."""
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
