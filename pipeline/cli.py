"""The command `fleming`: runs a sub-command, says how it went and keeps the log."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.options import parser

log = logging.getLogger("fleming")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code: 0, 2 for a user's mistake, 1 for a fault of Fleming's own."""
    options = parser().parse_args(arguments)
    try:
        with _logging(options.log, getattr(options, "task", None)):
            return _guarded(options)
    except UserError as error:
        print(f"fleming: {error}", file=sys.stderr)
        return 2


def _guarded(options: argparse.Namespace) -> int:
    try:
        options.run(options)
        return 0
    except UserError as error:
        log.debug("stopped by a user error", exc_info=True)
        for problem in error.problems:
            log.error("fleming: %s", problem)
        return 2
    except KeyboardInterrupt:
        log.error("fleming: interrupted; run the same command again to go on from what is done.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        log.debug("out of memory", exc_info=True)
        log.error(
            "fleming: %s: ran out of memory; use smaller samples, a smaller batch or a larger machine.", options.stage
        )
        return 2
    except BaseException:
        log.debug("a fault of Fleming's own", exc_info=True)
        details = options.log or _keep(traceback.format_exc())
        log.error("fleming: %s: met a fault of its own; report it with %s.", options.stage, details)
        return 1


def _keep(details: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="fleming-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(details)
    return file.name


@contextlib.contextmanager
def _logging(path: str | None, task: str | None) -> Iterator[None]:
    """Messages to the screen, with the task's name; to `path` too, with times and the tracebacks that it has not."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    screen.setFormatter(_OneLine(task))
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        from pipeline.files import write_error

        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = _LogFile(path, mode="w", encoding="utf-8")
        except OSError as error:
            raise write_error(path, error) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    for handler in handlers:
        log.addHandler(handler)
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that says once when it cannot be written any more, and lets the work go on."""

    def handleError(self, record: logging.LogRecord) -> None:
        from pipeline.files import write_error

        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise error
        log.removeHandler(self)
        log.warning("fleming: warning: %s", write_error(self.baseFilename, error))

    def close(self) -> None:
        # What the disk did not take is still in the buffer, and is refused again.
        with contextlib.suppress(OSError):
            super().close()


class _OneLine(logging.Formatter):
    """The message alone: tracebacks are for the log file. Progress says of which task, as tasks run side by side."""

    def __init__(self, task: str | None):
        super().__init__()
        self.task = task

    def format(self, record: logging.LogRecord) -> str:
        progress = self.task is not None and record.levelno < logging.WARNING
        return f"{self.task}: {record.getMessage()}" if progress else record.getMessage()


def _show_warning(message: Warning, category: type[Warning], *_: object) -> None:
    from pipeline.errors import FlemingWarning

    if issubclass(category, FlemingWarning):
        log.warning("fleming: warning: %s", message)
    else:
        log.debug("%s: %s", category.__name__, message)


if __name__ == "__main__":
    sys.exit(main())
