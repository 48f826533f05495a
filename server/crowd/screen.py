"""Where the figures of a crowd are shown."""

import shutil
from typing import TextIO

_OVERWRITE = "\r\x1b[2K"


class Terminal:
    """One line that is written anew on a terminal; in a file, one after the other."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_place = stream.isatty()
        self._open_line = False

    def line(self, text: str) -> None:
        """Show how it stands now."""
        if self._in_place:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{_OVERWRITE}{text[:width]}")
            self._open_line = True
        else:
            self._write(f"{text}\n")

    def text(self, text: str) -> None:
        """Show what stays."""
        self._write(f"\n{text}\n" if self._open_line else f"{text}\n")
        self._open_line = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
