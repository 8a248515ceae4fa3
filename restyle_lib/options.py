"""`name=value` pairs from the command line, checked against declared names and types before anything runs."""
import dataclasses
import difflib
import typing

import yaml

from .errors import UserError, suggest

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false",
         "list": "a list such as [1, 2]", "tuple": "a list such as [1, 2]", "dict": "a mapping as {a: 1}"}
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def convert(text, kind, name):
    """`text` as `kind` ("str", "bool", "int", "float", "list", "tuple", "dict"), or a UserError."""
    if kind not in WORDS:
        return text
    try:
        if kind == "bool":
            return {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}[text.lower()]
        if kind in ("int", "float"):
            return {"int": int, "float": float}[kind](text)
        value = yaml.safe_load(text)
        if not isinstance(value, dict if kind == "dict" else list):
            raise ValueError(text)
        return tuple(value) if kind == "tuple" else value
    except (KeyError, ValueError, yaml.YAMLError):
        raise UserError(f"{name}={text}: expected {WORDS[kind]}") from None


def pairs(arguments, kinds, what="parameter"):
    """{name: value} of arguments such as ("seed=3", "device=cpu"); `kinds` maps accepted names to types."""
    values = {}
    for argument in arguments:
        name, sign, text = argument.partition("=")
        if not sign:
            close = difflib.get_close_matches(name, kinds, n=1)
            hint = f", for instance {close[0]}=..." if close else ""
            raise UserError(f"'{argument}' is not of the form name=value{hint}")
        if name not in kinds:
            raise suggest(name, kinds, what)
        values[name] = convert(text, kinds[name], name)
    return values


def field_kinds(config):
    """{field: type name} of a dataclass; an optional field counts as its type."""
    kinds = {}
    for name, hint in typing.get_type_hints(config).items():
        if name in {field.name for field in dataclasses.fields(config)}:
            choices = [a for a in typing.get_args(hint) if a is not type(None)]
            plain = hint if typing.get_origin(hint) in (list, tuple, dict) or not choices else choices[0]
            kinds[name] = getattr(typing.get_origin(plain) or plain, "__name__", "str")
    return kinds
