"""Published files fetched: link after link, resumed where the host allows it, named when they are good."""
import contextlib
import hashlib
import os
import sys
import time

from . import registry
from .errors import UserError
from .files import writing

TRIES, PAUSE, TIMEOUT = 4, 2.0, (10.0, 60.0)    # of a link; seconds between; seconds to connect, of silence
CHUNK, PAGES = 2**18, ("text/html", "application/xhtml")


def fetch(name, *, offline=False, progress=None, say=print):
    """The path of a published file, fetched into the cache folder unless it is there.

    offline: nothing is opened. UserError: what each link answered, and how to get the file by hand."""
    found = registry.entry(name)
    if found.place.exists():
        return registry.checked(found)
    links = [link for link in found.links if link.host not in registry.BY_HAND and found.file]
    bar = sys.stderr.isatty() if progress is None else progress
    reasons = ["nothing is fetched offline" if offline else "no program can fetch it"]
    if links and not offline:
        reasons = []
    for link in links if not offline else ():
        say(f"{name}: {link.url}")
        place = hashlib.sha256(link.url.encode()).hexdigest()[:8]
        part = found.place.with_name(f".{found.place.name}.{place}.part")
        try:
            with writing(part.parent, "what has come so far is kept"), _alone(part):
                (_drive if link.host == "drive" else _http)(link, part, bar)
                _accept(found, part)
            return registry.checked(found)
        except UserError as error:
            with contextlib.suppress(OSError):
                if not part.stat().st_size:
                    _forget(part)
            reasons.append(f"{link.host}: {error}")
    raise UserError(f"{name} is not there ({'; '.join(reasons)}); {found.by_hand()}, then: python -m "
                    f"restyle_lib weights verify {name}")


def _accept(found, part):
    """Gives a whole, good file its name; deletes any other, so that the next try begins anew."""
    try:
        registry.refuse_others(found, part)
    except UserError:
        _forget(part)
        raise
    os.replace(part, found.place)
    _forget(part)


def _forget(part):
    for path in (part, _tag(part)):
        path.unlink(missing_ok=True)


def _tag(part):
    return part.with_suffix(".tag.part")           # the host's mark of the version that `part` is of


@contextlib.contextmanager
def _alone(part):
    """Refuses a second process that fetches the same file."""
    try:
        import fcntl
    except ImportError:                               # Windows: os.replace refuses what is open
        yield
        return
    path = part.with_suffix(".lock.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError("another process is fetching it") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _http(link, part, progress):
    """A web address into `part`: goes on where the last try ended, if the host still has that version."""
    try:
        import pooch
        import requests
    except ImportError:
        raise UserError("fetching needs a package: pip install pooch") from None
    for number in range(1, TRIES + 1):
        try:
            return _request(pooch, link.url, part, progress)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == 416:                         # nothing is left to send: begin anew
                _forget(part)
            elif status < 500 and status not in (408, 429):
                raise UserError(f"the host answers {status} {error.response.reason}") from None
            reason = f"the host answers {status} {error.response.reason}"
        except requests.Timeout:
            reason = "the host is silent"
        except requests.RequestException as error:
            silent = "timed out" in str(error)        # amid the body this is no Timeout
            reason = "the host is silent" if silent else f"the connection broke ({type(error).__name__})"
        except OSError as error:
            raise UserError(f"cannot write {part}: {error.strerror or error}") from None
        if number < TRIES:
            time.sleep(PAUSE)
    kept = part.stat().st_size if part.exists() else 0
    raise UserError(f"{reason}, {TRIES} times; {kept:,} bytes are kept for the next try")


def _request(pooch, url, part, progress):
    headers, whole = {"Accept-Encoding": "identity"}, []
    if part.exists() and _tag(part).exists():
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": _tag(part).read_text()}
    with open(part, "ab") as stream:

        def begin(response, **_):
            """Before the body comes: is it the file, and its rest or all of it?"""
            if response.is_redirect or not response.ok:
                return None if response.is_redirect else response.close()
            if response.headers.get("Content-Type", "").startswith(PAGES):
                with response:
                    text = next(response.iter_content(65536), b"").decode("utf-8", "replace")
                raise UserError(registry.page(text))
            if response.status_code != 206:
                stream.truncate(0)
            mark = response.headers.get("ETag", "")
            mark = mark if mark.startswith('"') else response.headers.get("Last-Modified", "")
            _tag(part).write_text(mark) if mark else _tag(part).unlink(missing_ok=True)
            length = response.headers.get("Content-Length")
            whole.append(length and os.fstat(stream.fileno()).st_size + int(length))

        load = pooch.HTTPDownloader(progressbar=progress, chunk_size=CHUNK, timeout=TIMEOUT, headers=headers,
                                    hooks={"response": begin})
        load(url, stream, None)
    if whole and whole[-1] and part.stat().st_size != whole[-1]:
        raise UserError(f"{part.stat().st_size:,} of {whole[-1]:,} bytes came: cut short")


def _drive(link, part, progress):
    """A file of Google Drive into `part`."""
    try:
        import gdown
    except ImportError:
        raise UserError("Google Drive needs a package: pip install gdown") from None
    try:
        gdown.download(id=link.rest, output=str(part), quiet=not progress, resume=True)
    except Exception as error:                        # its own types, and those of what it stands on
        text = " ".join(str(error).split())
        raise UserError(registry.page(text) if registry.QUOTA.search(text) else
                        f"Google Drive: {text:.120}" or type(error).__name__) from None
    if not part.exists():                             # older versions return None
        raise UserError("Google Drive gives no file (a quota, or a permission)")
