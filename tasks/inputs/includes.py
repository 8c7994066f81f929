"""Where the files are that a circuit includes: below the circuit's own folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import InputError
from tasks.inputs.files import MAX_BYTES, read_bytes, text_of

_MAX_FILES = 1000
_MAX_NESTED = 50


class Includes:
    """The included files of one circuit.

    Args:
        circuit_file: the file that the user named.
        standard: names of libraries that need no file.
    """

    def __init__(self, circuit_file: Path, standard: tuple[str, ...]) -> None:
        self._folder = circuit_file.parent.resolve()
        self._standard = standard
        self._files = 0
        self._size = 0

    def read(self, name: str, stack: tuple[Path, ...], where: str) -> tuple[Path, str] | None:
        """The file that an include names, and its text; None for a standard library that no file replaces.

        Args:
            name: as written between the quotes.
            stack: the files being read, the circuit's first.
            where: file and line of the include, for messages.

        Raises:
            InputError: there is no such file, it lies elsewhere, includes itself, or cannot be read. The message
                never quotes what is in it.
        """
        found = self._found(name, stack, where)
        if found is None:
            return None
        self._files += 1
        if self._files > _MAX_FILES or len(stack) > _MAX_NESTED:
            raise InputError(
                f"{where}: more than {_MAX_FILES:,} includes, or {_MAX_NESTED} within each other: join them"
            )
        text = text_of(found, read_bytes(found, "file of gates"), "OpenQASM")
        self._size += len(text)
        if self._size > MAX_BYTES:
            raise InputError(f"{where}: the included files are larger than {MAX_BYTES // 2**20} MiB together")
        return found, text

    def _found(self, name: str, stack: tuple[Path, ...], where: str) -> Path | None:
        named = f"the included file '{name:.100}'"
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise InputError(f"{where}: {named} is not below the circuit's folder: put it beside the circuit")
        candidates = [folder / name for folder in dict.fromkeys((stack[-1].parent, stack[0].parent))] if name else []
        try:
            found = next((file for file in candidates if file.exists() or file.is_symlink()), None)
            resolved = found.resolve(strict=True) if found else None
        except (OSError, RuntimeError) as error:  # links in a circle, names that are too long
            raise InputError(f"{where}: {named} cannot be read: correct the name or the link") from error
        if found is None or resolved is None:
            if name in self._standard:
                return None
            raise InputError(f"{where}: {named} is not there: put it beside the circuit")
        if not resolved.is_relative_to(self._folder):
            raise InputError(f"{where}: {named} is not below the circuit's folder: put it beside the circuit")
        if resolved in {file.resolve() for file in stack}:
            raise InputError(f"{where}: '{name:.100}' includes itself: take the include out")
        return found
