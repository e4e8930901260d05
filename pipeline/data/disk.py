"""A file for the HDF5 library to write to, which does not survive a write that fails."""

import io
import os
from collections.abc import Callable


class PatientFile(io.FileIO):
    """A new file that keeps the first failure to itself, such as a full disk, until `check` is called.

    When writing fails, HDF5 can neither go on nor close its file, and ends the whole process some time later.
    After a failure nothing more is written.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, block) -> int:
        rest = memoryview(block).cast("B")
        size = len(rest)
        while rest and self.failure is None:
            rest = rest[self._try(super().write, rest) or 0 :]
        return size

    def truncate(self, size: int | None = None) -> int:
        self._try(super().truncate, size)
        return self.tell()

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def _try(self, call: Callable, *arguments: object) -> int | None:
        if self.failure is None:
            try:
                return call(*arguments)
            except OSError as error:
                self.failure = error
        return None
