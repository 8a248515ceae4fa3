"""The registry of published files, and fetching them from a server that is good, cut short, slow or wrong."""
import http.server
import io
import json
import sys
import threading
import types

import pytest
import torch

from restyle_lib import downloads, registry, weights
from restyle_lib.__main__ import main
from restyle_lib.domains import available, load_domain
from restyle_lib.errors import UserError


def packed(value):
    stream = io.BytesIO()
    torch.save(torch.full((40_000,), float(value)), stream)
    return stream.getvalue()


GOOD, OTHER = packed(1), packed(2)
QUOTA = b"<!DOCTYPE html><title>Quota exceeded</title>Too many users have viewed this file recently."
read = registry.files.__wrapped__


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the next word of the server's script; the last one goes on for ever."""

    def do_GET(self):
        server = self.server
        word = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        asked = self.headers.get("Range", "")
        server.seen.append((word, asked))
        body, kind, mark = GOOD, "application/octet-stream", '"one"'
        if word in ("404", "500"):
            return self.send_error(int(word))
        if word in ("html", "quota"):
            body, kind = (QUOTA if word == "quota" else b"<html>Not here</html>"), "text/html; charset=utf-8"
        if word == "masked":
            body = QUOTA
        if word == "other":
            body, mark = OTHER, '"two"'
        first = 0
        if asked and self.headers.get("If-Range") == mark and word != "whole":
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) - first))
        self.send_header("ETag", mark)
        self.end_headers()
        if word in ("drop", "stall"):
            self.wfile.write(body[first:first + 60_000])
            self.wfile.flush()
            if word == "stall":
                server.go_on.wait(10)
            self.close_connection = True
            return None
        step = 40_000 if word == "slow" else len(body)
        for start in range(first, len(body), step):
            self.wfile.write(body[start:start + step])
            self.wfile.flush()
            server.go_on.wait(0.02 if word == "slow" else 0)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A local server, and a registry with one file there: `served(script..., **fields)`."""
    monkeypatch.setenv("RESTYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setattr(downloads, "CHUNK", 20_000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.go_on = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def write(*script, at=("host:file",), **fields):
        server.script = list(script) or ["good"]
        row = {"what": "a test", "kind": "direction", "terms": "mit", "file": "mine.pt", "at": list(at)}
        text = {"hosts": {"host": address + "/{}", "drive": "https://drive/{}", "page": "https://{}"},
                "terms": {"mit": {"licence": "MIT", "commercial": True}}, "files": {"mine": row | fields}}
        path = tmp_path / "weights.txt"
        path.write_text(json.dumps(text))
        whole = read(path)
        monkeypatch.setattr(registry, "files", lambda: whole)
        return whole["mine"]

    yield types.SimpleNamespace(write=write, server=server)
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetch():
    return downloads.fetch("mine", progress=False, say=lambda line: None)


def left(file):
    return sorted(p.name for p in file.place.parent.iterdir())


def test_a_good_file_is_fetched_once_recorded_and_found_by_name(served):
    file = served.write("good", size=len(GOOD))
    assert fetch() == file.place and file.place.read_bytes() == GOOD
    assert left(file) == ["mine.pt", "mine.pt.json"]
    assert fetch() == weights.find("mine") == file.place and len(served.server.seen) == 1
    record = json.loads(file.place.with_name("mine.pt.json").read_text())
    assert len(record["sha256"]) == 64 and record["bytes"] == len(GOOD)


@pytest.mark.parametrize("script", [["drop", "good"], ["drop", "drop", "good"], ["slow"]])
def test_what_has_come_is_not_asked_for_again(served, script):
    file = served.write(*script)
    assert fetch().read_bytes() == GOOD
    ranges = [asked for _, asked in served.server.seen]
    assert ranges == ["", "bytes=60000-", "bytes=120000-"][:len(script)] and len(left(file)) == 2


def test_a_silent_host_is_left_and_a_later_fetch_goes_on(served, monkeypatch):
    file = served.write("stall")
    monkeypatch.setattr(downloads, "TIMEOUT", (5, 0.2))
    monkeypatch.setattr(downloads, "TRIES", 1)
    with pytest.raises(UserError, match="the host is silent, 1 times; 60,000 bytes are kept"):
        fetch()
    assert not file.place.exists()
    served.write("good")
    assert fetch().read_bytes() == GOOD and served.server.seen[-1] == ("good", "bytes=60000-")


@pytest.mark.parametrize("last", ["whole", "other"])
def test_another_version_or_a_host_that_cannot_resume_begins_anew(served, last):
    served.write("drop", last)
    assert fetch().read_bytes() == (OTHER if last == "other" else GOOD)


@pytest.mark.parametrize("script, fields, told", [
    ("html", {}, "host: a web page came in place of the file"),
    ("quota", {}, "host: the host's quota page came in place of the file"),
    ("masked", {}, "host: the host's quota page came in place of the file"),
    ("404", {}, "host: the host answers 404 Not Found"), ("500", {}, "500 Internal Server Error, 4 times"),
    ("drop", {}, "the connection broke|bytes came: cut short"),
    ("good", {"size": "~9 MB"}, "161,.* bytes, not about 9 MB: cut short"),
    ("good", {"size": 5}, "161,.* bytes, not 5 bytes: another file"),
    ("good", {"sha256": "00ff"}, "has the sha256 .*, not 00ff: another file")])
def test_what_is_not_the_file_is_refused_by_name(served, script, fields, told, monkeypatch):
    file = served.write(script, **fields)
    monkeypatch.setattr(sys.modules[__name__], "GOOD", GOOD * 5 if script == "drop" else GOOD)
    with pytest.raises(UserError, match=told) as error:
        fetch()
    assert f"open {file.links[0].url} and put the file at {file.place}" in str(error.value)
    assert not file.place.exists() and (script == "drop") == any(".part" in name for name in left(file))


def test_the_next_link_is_tried_and_the_rest_goes_on(served, capsys):
    served.write("404", "good", at=["host:a", "host:b"])
    assert main(["weights", "fetch", "mine"]) == 0 and len(served.server.seen) == 2
    assert "a test; size not stated; MIT" in capsys.readouterr().out
    file = served.write("404")
    file.place.unlink()
    assert main(["weights", "fetch", "mine", "mine"]) == 1
    told = capsys.readouterr()
    assert told.out.count("by hand: open") == 2 and told.err.startswith("error: 2 of 2 files are missing")


def test_offline_opens_nothing_and_tells_the_way_by_hand(served, capsys):
    file = served.write("good")
    assert main(["weights", "fetch", "mine", "--offline"]) == 1 and served.server.seen == []
    assert str(file.place) in capsys.readouterr().out
    with pytest.raises(UserError, match="mine .* is not on this machine: .* weights fetch mine, or by hand"):
        weights.load_generator("mine")
    served.write("good", at=["page:example.org/x"], file=None)
    with pytest.raises(UserError, match="no program can fetch it"):
        fetch()


def test_a_file_put_there_by_hand_is_recorded_and_a_changed_one_refused(served, capsys):
    file = served.write("good")
    file.place.parent.mkdir(parents=True)
    file.place.write_bytes(GOOD)
    assert main(["weights", "verify"]) == 0 and "mine: as recorded" in capsys.readouterr().out
    file.place.write_bytes(OTHER)
    with pytest.raises(UserError, match="mine.pt has changed: its sha256 is .*; delete it and fetch mine"):
        weights.find("mine")
    assert main(["weights", "verify", "mine"]) == 1
    file.place.write_bytes(GOOD[:2000])
    assert main(["weights", "verify"]) == 1 and "cut short" in capsys.readouterr().out


def test_drive_goes_through_gdown(served, monkeypatch):
    file = served.write("good", at=["drive:1abc"])
    answers = [RuntimeError("Too many users have viewed or downloaded this file recently"),
               ConnectionError("no route"), QUOTA, GOOD[:900], GOOD]

    def download(id, output, quiet, resume):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        with open(output, "wb") as stream:
            stream.write(answer)

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    for told in ("quota page", "Google Drive: no route", "quota page", "cut short"):
        with pytest.raises(UserError, match=told):
            fetch()
    assert fetch().read_bytes() == GOOD and len(left(file)) == 2
    file.place.unlink()
    for name, words in (("gdown", "pip install gdown"), ("pooch", "pip install pooch")):
        monkeypatch.setitem(sys.modules, name, None)
        served.write("good", at=["drive:1abc" if name == "gdown" else "host:a"])
        with pytest.raises(UserError, match=words):
            fetch()


def test_two_processes_do_not_write_one_file(served):
    file = served.write("good")
    file.place.parent.mkdir(parents=True)
    part = file.place.with_name("x.part")
    with downloads._alone(part), pytest.raises(UserError, match="another process"), downloads._alone(part):
        pass


def test_the_registry_is_whole():
    files = registry.files()
    places = [file.place for file in files.values()]
    assert len(files) > 80 and len(set(places)) == len(places)
    assert {file.domain for file in files.values()} - {None} <= set(available("domains"))
    for file in files.values():
        assert file.links and all(link.url.startswith("http") and "{" not in link.url for link in file.links)
    for domain in map(load_domain, available("domains")):
        named = {domain.generator, *domain.networks.values()} & set(files)
        assert all(files[name].kind not in registry.NOT_READ for name in named)
    with pytest.raises(UserError, match="unknown model 'restyle-psp-fhq'; did you mean 'restyle-psp-ffhq'"):
        weights.find("restyle-psp-fhq")


@pytest.mark.parametrize("fields, told", [
    ({"sise": 5}, "unknown field 'files.mine.sise'; did you mean 'size'"), ({"kind": "gan"}, "kind is 'gan'"),
    ({"terms": "mti"}, "did you mean 'mit'"), ({"at": ["hots:a"]}, "did you mean 'host'"),
    ({"size": "9 MB"}, 'accepted: bytes, or "~N MB"')])
def test_a_typo_in_the_registry_is_named(served, fields, told):
    with pytest.raises(UserError, match=told):
        served.write(**fields)
