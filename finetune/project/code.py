"""Python code: what modules, classes, functions and routes are, told by their own definitions.

Nothing is run: the files are only parsed. An answer names the file and the line, and holds
the signature, the fields, the docstring, and short bodies that have no docstring.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from finetune.project.context import Context
from finetune.project.files import ProjectFile
from finetune.project.pair import Pair, question
from finetune.project.signatures import Function, fields, prefixes, routes, shortened, signature, table_name

SUFFIXES = (".py",)
MAX_SHOWN_LINES = 40  # of a function without a docstring


@dataclass
class Module:
    """A parsed file: its name with dots, its lines, and the prefixes of its routers."""

    context: Context
    kind: str
    file: ProjectFile
    name: str
    lines: list[str]
    prefixes: dict[str, str]

    def pair(self, template: str, name: str, node: ast.AST, answer: str, text: str, **values: object) -> Pair:
        """The question `template` about `name`; `text` decides its language."""
        place = f"{self.file.path}#{name}"
        asked = self.context.questions.ask(template, text, place, **{"name": name, **values})
        line = getattr(node, "lineno", 1)
        where = self.context.questions.word("place", text).format(path=self.file.path, line=line)
        return question(self.kind, self.file.path, name, asked, f"{answer}\n\n{where}")

    def word(self, which: str, text: str, **values: str) -> str:
        return self.context.questions.word(which, text).format(**values)


def find(context: Context, kind: str = "code") -> Iterator[Pair]:
    for file in context.files.having(*SUFFIXES):
        text = context.files.text(file)
        if text is None:
            continue
        try:
            pairs = list(in_module(context, kind, file, text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            context.cannot_read(file.path, f"{reason or 'nested too deeply'}{line}")
            continue
        yield from pairs


def in_module(context: Context, kind: str, file: ProjectFile, text: str) -> Iterator[Pair]:
    """Raises what parsing raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in foreign strings
        tree = ast.parse(text)
    name = file.path.removeprefix(f"{context.files.name}/").rpartition(".")[0].replace("/", ".")
    name = name.removesuffix(".__init__")
    module = Module(context, kind, file, name, text.split("\n"), prefixes(tree))
    words = ast.get_docstring(tree)
    if words:
        names = [node.name for node in tree.body if isinstance(node, Function | ast.ClassDef) and node.name[0] != "_"]
        holds = f"\n\n{module.word('holds', words)} {', '.join(names)}" if names else ""
        yield module.pair("module", name, tree, f"{words}{holds}", words)
    yield from in_body(module, tree.body, name, is_class=False)


def in_body(module: Module, body: list[ast.stmt], owner: str, *, is_class: bool) -> Iterator[Pair]:
    for node in body:
        module.context.tick()
        if isinstance(node, ast.ClassDef):
            yield from of_class(module, node, f"{owner}.{node.name}")
        elif isinstance(node, Function):
            yield from of_function(module, node, f"{owner}.{node.name}", "method" if is_class else "function")
        elif isinstance(node, ast.If | ast.Try):
            yield from in_body(module, [*node.body, *node.orelse], owner, is_class=is_class)


def of_function(module: Module, node: Function, name: str, template: str) -> Iterator[Pair]:
    words = ast.get_docstring(node) or ""
    head = f"```python\n{signature(node)}\n```"
    for method, route in routes(node, module.prefixes):
        handled = module.word("route", words, method=method, route=route)
        answer = f"{handled} `{name}`:\n\n{head}\n\n{words}".rstrip()
        yield module.pair("route", name, node, answer, words, method=method, route=route)
    if words:
        yield module.pair(template, name, node, f"{words}\n\n{head}", words)
    elif not node.name.startswith("_"):
        source = short_source(module, node)
        yield module.pair(template, name, node, f"```python\n{source}\n```" if source else head, words)


def short_source(module: Module, node: Function) -> str:
    """The whole function, if it is short."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    lines = module.lines[first : node.end_lineno or node.lineno]
    indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    return "\n".join(line[indent:] for line in lines) if len(lines) <= MAX_SHOWN_LINES else ""


def of_class(module: Module, node: ast.ClassDef, name: str) -> Iterator[Pair]:
    words = ast.get_docstring(node) or ""
    head = f"```python\nclass {node.name}{bases(node)}\n```"
    methods = [item for item in node.body if isinstance(item, Function)]
    public = [f"- `{signature(item)}`" for item in methods if not item.name.startswith("_")]
    listed = f"{module.word('methods', words)}\n\n" + "\n".join(public) if public else ""
    if words or listed:
        yield module.pair("class", name, node, "\n\n".join(filter(None, [words, head, listed])), words)
    found = fields(node)
    if found:
        table = table_name(node)
        parts = [module.word("fields", words, name=node.name), "\n".join(f"- `{field}`" for field in found)]
        if table:
            parts.append(module.word("table", words, table=f"`{table}`"))
        yield module.pair("fields", name, node, "\n\n".join(parts), words)
    yield from in_body(module, node.body, name, is_class=True)


def bases(node: ast.ClassDef) -> str:
    named = [shortened(base) for base in node.bases] + [
        f"{keyword.arg}={shortened(keyword.value)}" for keyword in node.keywords if keyword.arg
    ]
    return f"({', '.join(named)})" if named else ""
