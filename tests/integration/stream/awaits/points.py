"""Every await of a package, found in its source, and an importer that stops at each of them.

A point is a place where a coroutine goes on after it waited: the end of an `await`, of entering or
leaving an `async with`, of a step of an `async for`. What runs between two points runs without a
break, so to die after each of them is to die anywhere that the event loop can tell apart.

The list is made from the syntax trees that are compiled, so an await that is written tomorrow is a
point tomorrow. It must never be written by hand.
"""

import ast
from collections.abc import Awaitable, Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

Reached = Callable[[str], None]

_WAITED: Final = "__waited__"
_ENTERED: Final = "__entered__"
_STEPPED: Final = "__stepped__"


class Point(NamedTuple):
    """A place where a coroutine goes on; `key` is unique in the package."""

    key: str
    module: str
    line: int
    function: str
    text: str

    @property
    def what(self) -> str:
        """What it is, whatever the line."""
        return f"{self.function}: {self.text}"

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.what}"


def points(package: Path) -> list[Point]:
    """All points of all modules in a package's directory, in the order of the source."""
    found: list[Point] = []
    for path in sorted(package.rglob("*.py")):
        found += instrument(path.read_bytes(), str(path.relative_to(package)))[1]
    return found


def instrument(source: bytes, module: str) -> tuple[ast.Module, list[Point]]:
    """The module's tree with each of its points reported, and the points."""
    weaver = _Weaver(module)
    tree = weaver.visit(ast.parse(source))
    return ast.fix_missing_locations(tree), weaver.points


class _Weaver(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self.points: list[Point] = []
        self._module = module
        self._scope: list[str] = []

    def _point(self, node: ast.expr, text: str) -> ast.Constant:
        key = f"{self._module}:{node.lineno}:{node.col_offset}:{text.split()[0]}"
        where = ".".join(self._scope) or "<module>"
        self.points.append(Point(key, self._module, node.lineno, where, text))
        return ast.Constant(key)

    def _scoped(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _scoped  # noqa: N815

    def visit_Await(self, node: ast.Await) -> ast.AST:  # ast's name
        point = self._point(node, ast.unparse(node))
        self.generic_visit(node)
        node.value = _call(_WAITED, point, node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:  # ast's name
        for item in node.items:
            text = ast.unparse(item.context_expr)
            entered = self._point(item.context_expr, f"entering {text}")
            left = self._point(item.context_expr, f"leaving {text}")
            item.context_expr = _call(_ENTERED, entered, left, self.visit(item.context_expr))
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:  # ast's name
        self._stepped(node)
        return self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        if node.is_async:
            self._stepped(node)
        return self.generic_visit(node)

    def _stepped(self, node: ast.AsyncFor | ast.comprehension) -> None:
        point = self._point(node.iter, f"step of {ast.unparse(node.iter)}")
        node.iter = _call(_STEPPED, point, node.iter)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


class Importer(MetaPathFinder):
    """Imports a package with its points woven in; `reached` is called at each of them."""

    def __init__(self, package: str, reached: Reached) -> None:
        self._package = package
        self._hooks = _hooks(reached)

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The ordinary spec, with a loader of ours, for modules of the package."""
        if fullname.split(".")[0] != self._package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        root = next(p for p in Path(spec.origin).parents if p.name == self._package)
        spec.loader = _Loader(fullname, spec.origin, root, self._hooks)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, root: Path, hooks: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._root = root
        self._hooks = hooks

    def get_code(self, fullname: str) -> CodeType:
        """Compiled from source each time: what is cached elsewhere has no points."""
        path = Path(self.get_filename(fullname))
        tree, _ = instrument(path.read_bytes(), str(path.relative_to(self._root)))
        return compile(tree, str(path), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, which finds the hooks among its globals."""
        vars(module).update(self._hooks)
        super().exec_module(module)


def _hooks(reached: Reached) -> dict[str, Any]:
    async def waited(point: str, awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        finally:
            reached(point)

    class Entered:
        def __init__(self, entered: str, left: str, context: Any) -> None:
            self._entered = entered
            self._left = left
            self._context = context

        async def __aenter__(self) -> Any:
            return await waited(self._entered, self._context.__aenter__())

        async def __aexit__(self, *error: Any) -> Any:
            return await waited(self._left, self._context.__aexit__(*error))

    class Stepped:
        def __init__(self, point: str, iterable: Any) -> None:
            self._point = point
            self._iterator = aiter(iterable)

        def __aiter__(self) -> "Stepped":
            return self

        async def __anext__(self) -> Any:
            return await waited(self._point, anext(self._iterator))

    return {_WAITED: waited, _ENTERED: Entered, _STEPPED: Stepped}
