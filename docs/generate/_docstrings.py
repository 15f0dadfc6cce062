"""Shows docstrings on the site: their Markdown as reST, signatures as written.

Docstrings are Google's style in Markdown, with formulas between dollars, so that they
read well in an editor. Sphinx reads reST. `as_rest` translates the little that is used.
"""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

PUBLIC_MODULES = (
    "dropjax",
    "dropjax.linen",
    "dropjax.nnx",
    "dropjax.inference",
    "dropjax.losses",
    "dropjax.schedules",
    "dropjax.optimizers",
)
SHORT = {"dj": "dropjax", "djl": "dropjax.linen", "djn": "dropjax.nnx"}
# Code is what follows a prompt, or is indented further than the text above it.
CODE = re.compile(r"^ *(>>>|\.\.\. |\.\.\.$)")
MARKUP = re.compile(
    r"(?P<indent>^ *)?\$\$(?P<display>.+?)\$\$"
    r"|``?(?P<code>[^`]+)``?"
    r"|\$(?P<math>[^$]+)\$"
    r"|\[(?P<text>[^\]]+)\]\((?P<url>[^)]+)\)"
    r"|(?P<special>[*|]|(?<=\w)_(?!\w))",
    re.DOTALL | re.MULTILINE,
)


@functools.cache
def public_names() -> dict[str, str]:
    """What each public name may be called in a docstring, and its full name."""
    found = {}
    for name in PUBLIC_MODULES:
        for thing in importlib.import_module(name).__all__:
            full = f"{name}.{thing}"
            found |= {full: full, full.removeprefix("dropjax."): full}
            found.setdefault(thing, full)
    return found


def full_name(code: str) -> str | None:
    """The public name that code is, if it cannot be one of another library."""
    first, dot, rest = code.removesuffix("()").partition(".")
    name = f"{SHORT.get(first, first)}{dot}{rest}"
    is_ours = dot or re.fullmatch(r"[a-z_]+", name)
    return public_names().get(name) if is_ours else None


def link(code: str, module: str) -> str:
    """Code in a sentence, linked where it is the name of something public."""
    code, names = " ".join(code.split()), public_names()
    full = names.get(f"{module}.{code}", names.get(code))
    return f":py:obj:`{code} <{full}>`" if full else f"``{code}``"


def translate(match: re.Match[str], module: str) -> str:
    """One piece of Markdown as reST, in a docstring of a module."""
    found = match.groupdict()
    if found["display"]:
        indent = found["indent"] or ""
        formula = textwrap.indent(textwrap.dedent(found["display"]), f"{indent}   ")
        return f"\n{indent}.. math::\n\n{formula}\n\n{indent}"
    if found["code"]:
        is_part = match.string[match.end() :][:1].isalnum()  # As in `name`s.
        return link(found["code"], module) + r"\ " * is_part
    if found["math"]:
        return f":math:`{' '.join(found['math'].split())}`"
    if found["text"]:
        return f"`{found['text']} <{found['url']}>`__"
    return rf"\{found['special']}"


def pieces(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """The runs of lines that are code, and those that are not."""
    above, run, is_code = 0, [], False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        blank_above = number > 0 and not lines[number - 1].strip()
        if CODE.match(line):
            now = True
        elif line.strip():
            now = indent >= above + 4 and (is_code or blank_above)
        else:
            now = is_code
        if now != is_code and run:
            yield is_code, run
            run = []
        if line.strip() and not now:
            above = indent
        run, is_code = [*run, line], now
    yield is_code, run


def as_rest(lines: list[str], module: str = "dropjax") -> list[str]:
    """A docstring's lines in reST, where its sections stay as they are."""
    result: list[str] = []
    replace = functools.partial(translate, module=module)
    for is_code, run in pieces(lines):
        if not is_code:
            result += MARKUP.sub(replace, "\n".join(run)).split("\n")
        elif CODE.match(run[0]):
            result += run
        else:
            result += code_block(run)
    return result


def code_block(lines: list[str]) -> list[str]:
    """An indented block, which need not be Python."""
    indent = len(lines[0]) - len(lines[0].lstrip()) - 4
    try:
        ast.parse(textwrap.dedent("\n".join(lines)))
        language = "python"
    except SyntaxError:
        language = "text"
    return ["", f"{' ' * indent}.. code-block:: {language}", "", *lines, ""]


def process_docstring(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Sphinx's event `autodoc-process-docstring`, before napoleon's."""
    lines[:] = as_rest(lines, name.rpartition(".")[0])


def process_property(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """The same event after napoleon's, which takes words before a colon for a type."""
    if what == "property":
        text = inspect.getdoc(thing) or ""
        lines[:] = as_rest(text.splitlines(), name.rpartition(".")[0])


def definition(thing: Any) -> ast.AST:
    """The syntax tree of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def written_annotations(thing: type) -> dict[str, str]:
    """The annotations of a class and its bases, as they are in the source."""
    found = {}
    for base in reversed(thing.__mro__):
        if base.__module__.split(".")[0] not in ("dropjax", "flax"):
            continue
        for node in getattr(definition(base), "body", ()):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = ast.unparse(node.annotation)
    return found


def of_fields(thing: type) -> tuple[str, None]:
    """The signature of a Linen layer, another dataclass, or a named tuple."""
    written = written_annotations(thing)
    shown: list[str] = []
    for name, it in inspect.signature(thing).parameters.items():
        if name not in ("parent", "name"):
            if it.kind is it.KEYWORD_ONLY and "*" not in shown:
                shown.append("*")
            default = "" if it.default is it.empty else f" = {shown_default(it)}"
            shown.append(f"{name}: {written[name]}{default}")
    return f"({', '.join(shown)})", None


def shown_default(parameter: inspect.Parameter) -> str:
    """A default as it would be written."""
    default = parameter.default
    if inspect.isroutine(default) or isinstance(default, Callable):
        return getattr(default, "__name__", "...").replace("<lambda>", "...")
    return repr(default)


def signature_of(thing: Any) -> tuple[str, str | None]:
    """Arguments and result with the annotations as they are in the source."""
    if inspect.isclass(thing):
        made_of_fields = {"__dataclass_fields__", "_fields"} & set(dir(thing))
        return of_fields(thing) if made_of_fields else signature_of(thing.__init__)
    node = definition(inspect.unwrap(thing))
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    result = node.returns and ast.unparse(node.returns)
    return f"({arguments})", None if result == "None" else result


def process_signature(
    app: Any,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: str | None,
    result: str | None,
) -> tuple[str, str | None] | None:
    """Sphinx's event `autodoc-process-signature`."""
    if what in ("function", "method", "class") and signature is not None:
        return signature_of(thing)
    return None
