"""Row filters as text: a small language checked before it runs, instead of pandas' own, which runs code through `@`.

The expression is parsed as Python, and the tree is walked here: comparisons (chained too), `in`, `not in`, `and`, `or`,
`not`, over column names and literals. Nothing is ever handed to `eval`. Dotted names are columns (`label.Edema == 1`);
a name with spaces or slashes stands in backticks (`` `label.Pleural Effusion` == 1 ``).

A missing value is neither equal, unequal, larger nor smaller: every comparison with it is false, `!=` and `not in` too.
`== None` asks for missing values, `!= None` for present ones. `not` turns a mask round, so `not (age > 60)` keeps rows
without an age and `age <= 60` does not.
"""

import ast
import operator
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import QueryError

Mask = npt.NDArray[np.bool_]
Literal = str | int | float | bool | None

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_PIECES = re.compile(
    r"""(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`(?P<name>[^`]*)`|(?P<comment>\#)|(?P<space>\s+)"""
)
_ALLOWED = "comparisons, `in`, `and`, `or`, `not` over columns, numbers, quoted texts, True, False and None are allowed"


def mask(expression: str, table: pd.DataFrame) -> Mask:
    """Return which of the n rows of `table` the expression keeps: bool (n,).

    Raises QueryError where the expression is malformed, names a column that is not there (with the nearest ones), or
    tries more than comparing.
    """
    names, text = _without_backticks(expression)
    try:
        tree = ast.parse(text, mode="eval")
        return _Walk(expression, table, names).mask(tree.body)
    except (SyntaxError, ValueError, MemoryError) as error:
        raise QueryError(f"cannot read the selection {expression!r}: {error}; {_ALLOWED}") from error
    except RecursionError as error:
        raise QueryError(f"the selection {expression[:60]!r}... is nested too deeply") from error


def _without_backticks(expression: str) -> tuple[dict[str, str], str]:
    """Put an identifier in the place of each backticked name, outside quoted texts; return what each stands for."""
    prefix = "column_"
    while prefix in expression:
        prefix += "_"
    names: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        if found["text"] is not None:
            return found["text"]
        if found["space"] is not None:
            return " "
        if found["comment"] is not None:
            raise QueryError(f"the selection {expression!r} holds a comment (#); write it without")
        placeholder = f"{prefix}{len(names)}"
        names[placeholder] = found["name"]
        return f" {placeholder} "

    return names, _PIECES.sub(stand_in, expression).strip()


class _Walk:
    """One expression over one table; every method takes a node of the tree."""

    def __init__(self, expression: str, table: pd.DataFrame, names: dict[str, str]) -> None:
        self._expression = expression
        self._table = table
        self._names = names

    def mask(self, node: ast.expr) -> Mask:
        match node:
            case ast.BoolOp(op=op, values=values):
                combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return np.asarray(combine.reduce([self.mask(value) for value in values]), dtype=np.bool_)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.mask(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                pairs = [self._compare(sides[i], op, sides[i + 1]) for i, op in enumerate(ops)]
                return np.asarray(np.logical_and.reduce(pairs), dtype=np.bool_)
            case ast.Constant(value=bool(value)):
                return np.full(len(self._table), value, dtype=np.bool_)
            case ast.Name() | ast.Attribute():
                return self._truth(self._column(node))
        raise self._refuse(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Mask:
        if isinstance(op, ast.In | ast.NotIn):
            return self._is_in(self._column(left), self._members(right), wanted=isinstance(op, ast.In))
        a, b = self._operand(left), self._operand(right)
        if a is None or b is None:
            return self._is_missing(b if a is None else a, op)
        if isinstance(op, ast.Is | ast.IsNot):
            raise QueryError(f"`is` in {self._expression!r} goes with None alone; write == for a value")
        if not isinstance(a, pd.Series) and not isinstance(b, pd.Series):
            raise QueryError(f"the selection {self._expression!r} compares {a!r} with {b!r}; name a column")
        self._check_kinds(a, b)
        return _filled(_COMPARE[type(op)](a, b)) & _present(a) & _present(b)

    def _is_missing(self, value: "pd.Series[Any] | Literal", op: ast.cmpop) -> Mask:
        if not isinstance(value, pd.Series) or not isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
            raise QueryError(f"None in {self._expression!r} goes with == or != and a column")
        missing = ~_present(value)
        return missing if isinstance(op, ast.Eq | ast.Is) else ~missing

    def _is_in(self, column: "pd.Series[Any]", members: list[Literal], *, wanted: bool) -> Mask:
        for member in members:
            if member is not None:
                self._check_kinds(column, member)
        present = _present(column)
        found = _filled(column.isin([member for member in members if member is not None])) & present
        if None in members:
            found |= ~present
            present = np.ones_like(present)
        return found if wanted else ~found & present

    def _operand(self, node: ast.expr) -> "pd.Series[Any] | Literal":
        if isinstance(node, ast.Name | ast.Attribute):
            return self._column(node)
        return self._literal(node)

    def _literal(self, node: ast.expr) -> Literal:
        match node:
            case ast.Constant(value=None | bool() | str() as value):
                return value
            case ast.Constant(value=int() | float() as value):
                if abs(value) >= 2**63 and isinstance(value, int):
                    raise QueryError(f"the number {str(value)[:30]}... in the selection is too large")
                return value
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as value)):
                return -value if isinstance(sign, ast.USub) else value
        raise self._refuse(node)

    def _members(self, node: ast.expr) -> list[Literal]:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set):
            raise QueryError(f"`in` of {self._expression!r} wants a list of literals, such as in ('PA', 'AP')")
        return [self._literal(element) for element in node.elts]

    def _column(self, node: ast.expr) -> "pd.Series[Any]":
        name = self._dotted(node)
        if name not in self._table.columns:
            raise QueryError(self._unknown(name))
        column = self._table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return column.astype(column.cat.categories.dtype)
        return column

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        raise self._refuse(node)

    def _truth(self, column: "pd.Series[Any]") -> Mask:
        if not pd.api.types.is_bool_dtype(column.dtype):
            raise QueryError(f"column {column.name!r} is not yes or no: compare it with something, such as == 1")
        return _filled(column)

    def _check_kinds(self, a: "pd.Series[Any] | Literal", b: "pd.Series[Any] | Literal") -> None:
        """Refuse text against numbers, which would be false everywhere without a word."""
        if {_kind(a), _kind(b)} == {"text", "number"}:
            sides = f"{_name(a)} is {_kind(a)}, {_name(b)} is {_kind(b)}"
            raise QueryError(f"{sides} in the selection {self._expression!r}: quote texts and leave numbers bare")

    def _unknown(self, name: str) -> str:
        columns = [str(column) for column in self._table.columns]
        by_end = {column.lower().rpartition(".")[2]: column for column in reversed(columns)}
        by_end |= {column.lower(): column for column in columns}
        near = [by_end[found] for found in get_close_matches(name.lower(), by_end, n=3, cutoff=0.5)]
        advice = f"nearest: {', '.join(dict.fromkeys(near))}" if near else f"columns: {', '.join(columns[:12])}, ..."
        return f"no column {name!r} for the selection {self._expression!r}; {advice} (a text goes in quotes)"

    def _refuse(self, node: ast.AST) -> QueryError:
        what = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        return QueryError(f"{what[:60]!r} in the selection {self._expression!r} is refused: only {_ALLOWED}")


def _present(value: "pd.Series[Any] | Literal") -> Mask:
    return np.asarray(pd.notna(value), dtype=np.bool_)


def _filled(answer: "pd.Series[Any]") -> Mask:
    return answer.to_numpy(dtype=np.bool_, na_value=False)


def _kind(value: "pd.Series[Any] | Literal") -> str:
    """Return `text`, `number`, or `mixed` where a column may hold either."""
    if not isinstance(value, pd.Series):
        return "text" if isinstance(value, str) else "number"
    if pd.api.types.is_numeric_dtype(value.dtype):
        return "number"
    inferred = pd.api.types.infer_dtype(value, skipna=True)
    return "text" if inferred == "string" else "mixed"


def _name(value: "pd.Series[Any] | Literal") -> str:
    return f"column {value.name!r}" if isinstance(value, pd.Series) else repr(value)
