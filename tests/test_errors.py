"""The table of exit codes and sentences, read from the code: complete, distinct, in one style."""
import re

from restyle_lib.__main__ import main
from restyle_lib.errors import EXITS, STATUS, UserError, sentences


def test_exit_codes_are_distinct_and_stay():
    words = ("done", "failed", "usage", "crash", "drift", "slower", "claim lost", "interrupted")
    assert STATUS == dict(zip(words, (0, 1, 2, 3, 4, 5, 6, 130), strict=True))       # crontabs know them
    assert UserError("a").status == 1 and str(UserError("a", STATUS["drift"])) == "a"


def test_every_sentence_is_one_plain_sentence():
    found = sentences()
    assert len(found) > 300
    for place, sentence in found:
        assert "\n" not in sentence and "!" not in re.sub(r"\{.*?\}", "", sentence), place
        assert not re.search(r"(?<!\.)\.$|  |\b(please|sorry|oops)\b", sentence, re.I), (place, sentence)
        assert len(sentence.split()) > 2 or re.fullmatch(r"(\{.*\}[:, ]*)+", sentence), (place, sentence)


def test_the_command_shows_the_table(capsys):
    assert main(["errors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:len(EXITS)]] == list(map(str, EXITS))
    assert len(lines) == len(EXITS) + len(sentences())
    assert main(["errors", "far more than it has"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(EXITS) + 1
