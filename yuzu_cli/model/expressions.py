"""Tells arithmetic on sizes from other Python, by its syntax tree.

An exported program writes its free sizes and the conditions on them as text, and torch evaluates
that text. May not: evaluate anything.
"""

from __future__ import annotations

import ast
import re

_LONGEST = 10_000
_SYMBOL = re.compile(r"[a-z]+\d+")
_DECIMAL = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
_WORD = re.compile(r"\w+")
_FUNCTIONS = re.compile(
    r"Add|Mul|Pow|Rational|Integer|FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|"
    r"CeilToInt|FloorToInt|CeilDiv|LShift|RShift|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|"
    r"IsNonOverlappingAndDenseIndicator|TruncToFloat|TruncToInt|RoundToInt|RoundDecimal|"
    r"ToFloat|Identity|Max|Min|Abs|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|LessThan|"
    r"StrictLessThan|GreaterThan|StrictGreaterThan|And|Or|Not|floor|ceiling|max|min|abs"
)
_POWERS = ("Pow", "PowByNatural", "FloatPow", "LShift")
_PLAIN: tuple[type[ast.AST], ...] = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
)
_PLAIN += (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
_MEASURES = {"size", "stride", "storage_offset"}
_LARGEST_POWER = 64


def is_arithmetic(text: str) -> bool:
    """Whether a text is numbers, symbols such as `s77`, operators and known functions only."""
    tree = _parse(text)
    return tree is not None and _allowed(tree, guard=False)


def is_guard(text: str) -> bool:
    """The same, also of the sizes of inputs: `2*L['x'].size()[2] == 48`."""
    tree = _parse(text)
    return tree is not None and _allowed(tree, guard=True)


def _parse(text: str) -> ast.AST | None:
    if len(text) > _LONGEST or not text.isascii() or "\n" in text:
        return None
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _allowed(node: ast.AST, guard: bool) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, bool | int | float)
    if isinstance(node, ast.Name):
        return bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Call):
        return _call(node, guard)
    if guard and isinstance(node, ast.Subscript):
        inner = node.value
        sized = isinstance(inner, ast.Call) and _measure(inner.func)
        return (sized and _is_number(node.slice)) or _input(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift):
        if not _small(node.right):
            return False
    elif not isinstance(node, _PLAIN):
        return False
    return all(_allowed(child, guard) for child in ast.iter_child_nodes(node))


def _call(node: ast.Call, guard: bool) -> bool:
    """A known function, or what a symbol and a float are written as."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in ("Symbol", "Float"):
        return _literal(node, name)
    if not _FUNCTIONS.fullmatch(name) and not (guard and _measure(node.func)):
        return False
    if name in _POWERS and not (len(node.args) == 2 and _small(node.args[1])):
        return False
    return not node.keywords and all(_allowed(argument, guard) for argument in node.args)


def _literal(node: ast.Call, name: str) -> bool:
    """`Symbol('s77', positive=True, integer=True)` or `Float('1.5', precision=53)`."""
    pattern = _SYMBOL if name == "Symbol" else _DECIMAL
    value = node.args[0] if len(node.args) == 1 else None
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return False
    return bool(pattern.fullmatch(value.value)) and all(_assumption(k) for k in node.keywords)


def _assumption(keyword: ast.keyword) -> bool:
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    return bool(keyword.arg) and isinstance(value, int) and 0 <= value < 1000


def _measure(function: ast.expr) -> bool:
    """`L['x'].size`, and nothing else with a dot, but `math.isnan` of a number."""
    if not isinstance(function, ast.Attribute):
        return False
    if isinstance(function.value, ast.Name):
        return function.value.id == "math" and function.attr == "isnan"
    return function.attr in _MEASURES and _input(function.value)


def _input(node: ast.expr) -> bool:
    """`L['x']`, `L['x'][0]`: an input, or a part of one."""
    if not isinstance(node, ast.Subscript):
        return False
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    if not _is_number(node.slice) and not (isinstance(key, str) and _WORD.fullmatch(key)):
        return False
    return (isinstance(node.value, ast.Name) and node.value.id == "L") or _input(node.value)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _small(node: ast.expr) -> bool:
    """A power that cannot be used to fill the memory with one number."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        node = node.args[0] if node.func.id == "Integer" else node
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    return type(value) is int and value <= _LARGEST_POWER
