"""The one exception that users see: one sentence with what is wrong, where, what is accepted, what to do."""
import ast
import difflib
import functools
from pathlib import Path

EXITS = {
    0:   ("done",        "all that was asked for is done"),
    1:   ("failed",      "bad input or environment, or a part of the work failed; one sentence on stderr"),
    2:   ("usage",       "the command line is not understood"),
    3:   ("crash",       "compare: a notebook of the run failed, was interrupted or is missing"),
    4:   ("drift",       "compare, batch --reproduce: records are worse, better, changed or missing"),
    5:   ("slower",      "compare --timing: only times or memory are over their tolerances"),
    6:   ("claim lost",  "compare --strict: a claim that held does not hold any more"),
    130: ("interrupted", "Ctrl-C; what was finished is kept"),
}
STATUS = {word: number for number, (word, _) in EXITS.items()}


class UserError(Exception):
    """Wrong input or environment, in one readable sentence; the command line prints it, no traceback."""

    def __init__(self, sentence, status=STATUS["failed"]):
        super().__init__(sentence)
        self.status = status                              # one of EXITS


def suggest(word, accepted, what="value"):
    """A UserError for an unknown `word`: names the nearest accepted one and lists them all."""
    accepted = [str(a) for a in accepted]
    close = difflib.get_close_matches(str(word), accepted, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return UserError(f"unknown {what} '{word}'{hint} accepted: {', '.join(accepted)}")


@functools.cache
def sentences():
    """Every sentence that the library can end in, read from its code: (place, sentence with {values})."""
    package, found = Path(__file__).parent, []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", "")
            place = f"{path.relative_to(package).as_posix()}:{getattr(node, 'lineno', 0)}"
            if name == "UserError":
                found.append((place, _template(node.args[0])))
            elif name == "suggest" and len(node.args) > 2:
                what = _template(node.args[2])
                found.append((place, f"unknown {what} '{{word}}'; did you mean '{{near}}'? accepted: ..."))
    return found


def _template(node):
    """The text of a string in the code, what is filled in being in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return "{" + ast.unparse(getattr(node, "value", node)) + "}"
