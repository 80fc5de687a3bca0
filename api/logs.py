"""How log lines look: for people at a terminal, or as JSON, one object a line. Both go to standard error.

Tracebacks show no local variables: passwords of ICE and keys of SRTP are among them.
"""

import logging
import sys

import structlog


def configure_logs(log_format: str) -> None:
    """Set the form of all log lines; `console` or `json`."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_traceback(log_format), renderer],
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


def _traceback(log_format: str) -> list[structlog.typing.Processor]:
    if log_format != "json":
        return []
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer)]
