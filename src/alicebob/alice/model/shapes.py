"""Shapes: the JSON schema that a question's answer is held to, as narrow as the question is.

A text may get one character longer than it should be: so one that would go on is seen to be too
long, and is refused, instead of being cut and taken for whole. Does not: check answers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["line", "none_or", "record", "text", "whole"]

_LINE = r"^\S[^\x00-\x1f\x7f-\x9f]*$"


def record(**fields: Any) -> dict[str, Any]:
    """Return the schema of an object with exactly these fields, in this order.

    A value that is no schema stands for itself.
    """
    values = {n: f if isinstance(f, dict) else {"const": f} for n, f in fields.items()}
    required = {"required": list(values), "additionalProperties": False}
    return {"type": "object", "properties": values, **required}


def text(least: int, most: int) -> dict[str, Any]:
    """Return the schema of a text of so many characters."""
    return {"type": "string", "minLength": least, "maxLength": most + 1}


def line(least: int, most: int) -> dict[str, Any]:
    """Return the schema of a text of one line."""
    return {**text(least, most), "pattern": _LINE}


def whole(least: int, most: int) -> dict[str, Any]:
    """Return the schema of a whole number in a range, both ends included."""
    return {"type": "integer", "minimum": least, "maximum": most}


def none_or(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what may be null instead."""
    return {"anyOf": [schema, {"type": "null"}]}
