"""The one exception that users see: one sentence with what is wrong, where, what is accepted, what to do."""
import difflib


class UserError(Exception):
    """Wrong input or environment, in one readable sentence; the command line prints it, no traceback."""


def suggest(word, accepted, what="value"):
    """A UserError for an unknown `word`: names the nearest accepted one and lists them all."""
    accepted = [str(a) for a in accepted]
    close = difflib.get_close_matches(str(word), accepted, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return UserError(f"unknown {what} '{word}'{hint} accepted: {', '.join(accepted)}")
