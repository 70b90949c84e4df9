"""What a definition in Python code says of itself: its signature, routes, fields, table."""

from __future__ import annotations

import ast
from collections.abc import Iterator

MAX_EXPRESSION = 120
METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace", "websocket")
COLUMNS = {"Column", "mapped_column", "relationship", "Field", "field", "Mapped"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def shortened(node: ast.expr) -> str:
    """An expression as written, on one line, not too long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= MAX_EXPRESSION else f"{text[: MAX_EXPRESSION - 1]}…"


def signature(node: Function) -> str:
    """`async def name(arguments) -> result`."""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(node.args)}){result}"


def prefixes(tree: ast.Module) -> dict[str, str]:
    """The prefixes of routers: `router = APIRouter(prefix="/items")`."""
    found: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        for keyword in node.value.keywords:
            if keyword.arg in ("prefix", "url_prefix") and (prefix := _text(keyword.value)):
                found |= {target.id: prefix for target in node.targets if isinstance(target, ast.Name)}
    return found


def routes(node: Function, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(method, path) of the decorators `@app.get("/x")`, `@router.post(…)`, `@app.route("/x", methods=[…])`."""
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
            continue
        name = decorator.func.attr
        owner = decorator.func.value.id if isinstance(decorator.func.value, ast.Name) else ""
        given = {keyword.arg: keyword.value for keyword in decorator.keywords}
        first = decorator.args[0] if decorator.args else given.get("path")
        path = _text(first) if first is not None else None
        if path is None or not (path.startswith("/") or (not path and owner in known)):
            continue
        path = known.get(owner, "") + path
        if name in METHODS:
            yield name.upper(), path
        elif name in ("route", "api_route"):
            listed = given.get("methods")
            methods = [_text(item) for item in listed.elts] if isinstance(listed, ast.List | ast.Tuple) else ["GET"]
            for method in filter(None, methods):
                yield method.upper(), path


def fields(node: ast.ClassDef) -> list[str]:
    """Annotated fields (dataclasses, pydantic, SQLAlchemy 2) and columns that are assigned (SQLAlchemy 1)."""
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            value = f" = {shortened(item.value)}" if item.value is not None else ""
            found.append(f"{item.target.id}: {shortened(item.annotation)}{value}")
        elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Call) and _called(item.value) in COLUMNS:
            found += [
                f"{target.id} = {shortened(item.value)}" for target in item.targets if isinstance(target, ast.Name)
            ]
    return found


def table_name(node: ast.ClassDef) -> str:
    """The `__tablename__` of a SQLAlchemy model."""
    for item in node.body:
        if isinstance(item, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__tablename__" for target in item.targets
        ):
            return _text(item.value) or ""
    return ""


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
