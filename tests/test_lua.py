"""The script loader, and that every header says what its body and its caller do."""

import ast
import re
from pathlib import Path

import pytest

from server import lua
from server.lua import ScriptError

HEADER = "#!lua\n--[[\nverb: does it.\nKEYS: a_key\nReturns: ok\nEmits: nothing\n]]\n"
REPO = Path(lua.__file__).parent.parent / "repo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "includes").mkdir()
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.lua").write_text(text)


def code_of(name: str) -> str:
    """The source that is sent, without comments."""
    without_blocks = re.sub(r"--\[\[.*?\]\]", "", lua.load(name).source, flags=re.DOTALL)
    return re.sub(r"--[^\n]*", "", without_blocks)


def body_of(name: str) -> str:
    """The script's own lines, without header, includes and comments."""
    text = (lua.FOLDER / f"{name}.lua").read_text()
    return re.sub(r"--[^\n]*", "", text.split("\n]]\n", 1)[1])


# -- the loader -----------------------------------------------------------------------------------


def test_an_include_comes_once_before_its_users(folder: Path) -> None:
    write(folder, "includes/inner", "local function inner() end\n")
    write(folder, "includes/outer", "--- @include inner\nlocal function outer() inner() end\n")
    write(folder, "verb", HEADER + "--- @include outer\n--- @include inner\nreturn { 'ok' }\n")
    source = lua.load("verb", folder).source
    assert source.startswith("#!lua\n")
    assert source.count("local function inner()") == 1
    assert source.index("function inner") < source.index("function outer") < source.index("return")


def test_a_missing_include_is_named(folder: Path) -> None:
    write(folder, "verb", HEADER + "--- @include nowhere\nreturn { 'ok' }\n")
    with pytest.raises(ScriptError, match=r"nowhere\.lua: there is no such file"):
        lua.load("verb", folder)


def test_a_double_include_is_refused(folder: Path) -> None:
    write(folder, "includes/part", "local function part() end\n")
    write(folder, "verb", HEADER + "--- @include part\n--- @include part\nreturn { 'ok' }\n")
    with pytest.raises(ScriptError, match=r"verb\.lua: includes the same file twice"):
        lua.load("verb", folder)


def test_a_circle_of_includes_is_refused(folder: Path) -> None:
    write(folder, "includes/one", "--- @include two\nlocal function one() end\n")
    write(folder, "includes/two", "--- @include one\nlocal function two() end\n")
    write(folder, "verb", HEADER + "--- @include one\nreturn { 'ok' }\n")
    with pytest.raises(ScriptError, match="in a circle"):
        lua.load("verb", folder)


@pytest.mark.parametrize("line", ["KEYS: a_key", "Returns: ok", "Emits: nothing"])
def test_a_header_without_a_line_is_refused(folder: Path, line: str) -> None:
    write(folder, "verb", HEADER.replace(f"{line}\n", "") + "return { 'ok' }\n")
    with pytest.raises(ScriptError, match=f"no line {line.split()[0]}"):
        lua.load("verb", folder)


def test_a_script_without_a_shebang_is_refused(folder: Path) -> None:
    write(folder, "verb", HEADER.removeprefix("#!lua\n") + "return { 'ok' }\n")
    with pytest.raises(ScriptError, match="needs a #!lua line"):
        lua.load("verb", folder)


def test_names_in_the_header_become_variables(folder: Path) -> None:
    header = HEADER.replace("Returns:", "ARGV: one two rest...\nReturns:")
    write(folder, "verb", header + "return { 'ok' }\n")
    script = lua.load("verb", folder)
    assert (script.keys, script.args, script.rest) == (("a_key",), ("one", "two"), "rest")
    assert "local a_key = unpack(KEYS)" in script.source
    assert "local one, two = unpack(ARGV, 1, 2)" in script.source
    assert "for i = 3, #ARGV do rest[#rest + 1] = ARGV[i] end" in script.source


# -- headers against bodies -----------------------------------------------------------------------


@pytest.mark.parametrize("name", lua.names())
def test_a_header_begins_with_the_name_of_its_verb(name: str) -> None:
    assert f"--[[\n{name}: " in (lua.FOLDER / f"{name}.lua").read_text()


@pytest.mark.parametrize("name", lua.names())
def test_a_body_uses_all_that_its_header_names(name: str) -> None:
    script = lua.load(name)
    named = {*script.keys, *script.args} | ({script.rest} if script.rest else set())
    assert {n for n in named if not re.search(rf"\b{n}\b", body_of(name))} == set()


@pytest.mark.parametrize("name", lua.names())
def test_a_body_answers_the_words_of_its_header(name: str) -> None:
    code = code_of(name)
    answered = set(re.findall(r"return \{ '(\w+)'", code))
    answered |= set(re.findall(r"return nil, '(\w+)'", code))
    answered |= set(re.findall(r"(?:reply|taken|conflict)\b[^\n]*= (?:[^\n]*)\{ '(\w+)'", code))
    assert answered == lua.load(name).words


@pytest.mark.parametrize("name", lua.names())
def test_a_body_emits_the_events_of_its_header(name: str) -> None:
    assert set(re.findall(r"type = '([\w.]+)'", code_of(name))) == lua.load(name).emits


@pytest.mark.parametrize("name", lua.names())
def test_keys_come_through_keys_and_time_from_one_include(name: str) -> None:
    for command, key in re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", code_of(name)):
        allowed = command == "TIME" or key.endswith("_key") or key == "channel"
        assert allowed, f"{command} {key}"
    assert "'TIME'" not in body_of(name)


@pytest.mark.parametrize("name", lua.names())
def test_a_body_is_short(name: str) -> None:
    assert len([line for line in body_of(name).splitlines() if line.strip()]) <= 60


# -- headers against callers ----------------------------------------------------------------------


def calls() -> dict[str, list[ast.Call]]:
    """Return every call of a script in server/repo, by the script's name."""
    found: dict[str, list[ast.Call]] = {}
    for path in REPO.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("run", "_run")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.setdefault(str(node.args[0].value), []).append(node)
    return found


def test_every_script_has_a_caller_and_no_caller_lacks_its_script() -> None:
    assert sorted(calls()) == lua.names()


@pytest.mark.parametrize("name", lua.names())
def test_callers_give_what_the_header_names(name: str) -> None:
    script = lua.load(name)
    for call in calls()[name]:
        given = {keyword.arg for keyword in call.keywords}
        assert given <= set(script.args) | {None}
        assert given == set(script.args) or None in given
        assert (len(call.args) == 3) == (script.rest is not None)
