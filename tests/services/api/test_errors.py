"""Every error is raised with the values that its row has in braces."""

import ast
import string
from pathlib import Path

from services.api.errors import ERRORS


def raised() -> list[tuple[object, set[str]]]:
    """The code and the names of the values of every ApiError that the service makes."""
    calls = [
        node
        for path in Path("services/api").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ApiError", "self._refuse")
    ]
    return [
        (call.args[0].value, {str(keyword.arg) for keyword in call.keywords})
        for call in calls
        if isinstance(call.args[0], ast.Constant)
    ]


def wanted(code: object) -> set[str]:
    _, message, resolution = ERRORS[str(code)]
    return {name for _, name, _, _ in string.Formatter().parse(message + resolution) if name}


def test_each_error_has_its_values() -> None:
    assert [(code, names) for code, names in raised() if names != wanted(code)] == []


def test_each_row_is_raised() -> None:
    assert {code for code, _ in raised()} == set(ERRORS)
