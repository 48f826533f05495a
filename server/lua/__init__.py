"""Loads the Redis scripts: one file, one verb; the header is the contract.

A script begins with `#!lua` and a block comment whose lines `KEYS:`, `ARGV:`, `Returns:` and
`Emits:` say how it is called and what it answers. The names under KEYS and ARGV become the script's
local variables, so a header that drifts from the body breaks the body; a last name that ends in
`...` takes the rest of ARGV as a list. `--- @include name` puts in `includes/name.lua`, once,
before its user.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent

_INCLUDE = re.compile(r"^--- @include (\S+)\n", re.MULTILINE)
_SCRIPT = re.compile(r"\A(#!lua[^\n]*\n)--\[\[\n(.*?)\n\]\]\n(.*)\Z", re.DOTALL)


class ScriptError(Exception):
    """A script cannot be put together; names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Script:
    """One verb, ready to be sent; its caller fills `keys` and `args`, in order."""

    name: str
    source: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    rest: str | None
    """Name of the list that takes the rest of ARGV."""
    words: frozenset[str]
    """The closed set of first words that the script can answer."""
    emits: frozenset[str]


def names(folder: Path = FOLDER) -> list[str]:
    """Return the verbs, sorted."""
    return sorted(path.stem for path in folder.glob("*.lua"))


@cache
def load(name: str, folder: Path = FOLDER) -> Script:
    """Read, expand and describe one script. Raises ScriptError."""
    path = folder / f"{name}.lua"
    match = _SCRIPT.match(_read(path))
    if not match:
        raise ScriptError(f"{path.name}: needs a #!lua line and a header comment")
    shebang, header, body = match.groups()
    keys = tuple(_field(path, header, "KEYS").split())
    argv = _field(path, header, "ARGV", default="").split()
    rest = argv.pop().removesuffix("...") if argv and argv[-1].endswith("...") else None
    emits = _field(path, header, "Emits").split()
    return Script(
        name=name,
        source=shebang + _bindings(keys, argv, rest) + _expand(path, body, folder, set(), ()),
        keys=keys,
        args=tuple(argv),
        rest=rest,
        words=frozenset(
            part.split()[0] for part in _field(path, header, "Returns").split("|") if part.strip()
        ),
        emits=frozenset(() if emits == ["nothing"] else emits),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptError(f"{path.name}: there is no such file") from None


def _field(path: Path, header: str, name: str, default: str | None = None) -> str:
    match = re.search(rf"^{name}: (.*)$", header, re.MULTILINE)
    if match:
        return match[1]
    if default is None:
        raise ScriptError(f"{path.name}: the header has no line {name}:")
    return default


def _bindings(keys: tuple[str, ...], args: list[str], rest: str | None) -> str:
    """Lua that names KEYS and ARGV as the header does."""
    lines = [f"local {', '.join(keys)} = unpack(KEYS)"]
    if args:
        lines.append(f"local {', '.join(args)} = unpack(ARGV, 1, {len(args)})")
    if rest:
        lines.append(f"local {rest} = {{}}")
        lines.append(f"for i = {len(args) + 1}, #ARGV do {rest}[#{rest} + 1] = ARGV[i] end")
    return "\n".join(lines) + "\n"


def _expand(path: Path, text: str, folder: Path, done: set[str], chain: tuple[str, ...]) -> str:
    """Replace include lines by their files; each file once, cycles and repeats refused."""
    here = _INCLUDE.findall(text)
    if len(here) != len(set(here)):
        raise ScriptError(f"{path.name}: includes the same file twice")
    expanded = ""
    for name in here:
        if name in chain:
            raise ScriptError(f"{path.name}: includes {name} in a circle")
        if name in done:
            continue
        included = folder / "includes" / f"{name}.lua"
        expanded += _expand(included, _read(included), folder, done, (*chain, name))
        done.add(name)
    return expanded + _INCLUDE.sub("", text)
