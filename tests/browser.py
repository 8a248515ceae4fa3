"""JupyterLab and a headless Chromium for tests, driven through the DevTools protocol."""
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

import websocket

PATIENCE = 600        # seconds until something that ought to happen counts as missing
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}
FLAGS = ("--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
         "--disable-component-update --disable-sync --disable-extensions --no-first-run "
         "--no-default-browser-check --remote-debugging-port=0 --window-size=1200,1600 about:blank").split()


def chromium():
    """Path of a Chromium on this machine, or None."""
    names = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
    return next(filter(None, map(shutil.which, names)), None)


def wait(condition, what, seconds=PATIENCE):
    """The first true value of condition(); AssertionError with `what` if there is none in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.3)
    return value


@contextlib.contextmanager
def process(arguments, log, **more):
    """A process whose output goes to a file; it is asked to end, and killed if it does not."""
    with open(log, "wb") as stream:
        started = subprocess.Popen(arguments, stdout=stream, stderr=stream, start_new_session=True, **more)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(120)            # the server ends its kernels first
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextlib.contextmanager
def lab(folder, **environment):
    """JupyterLab over a folder, with settings and runtime files of its own -> address(notebook's name)."""
    own = folder / ".jupyter"
    for name, values in SETTINGS.items():
        place = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(values))
    places = {f"JUPYTER{kind}_DIR": str(own / name) for kind, name in (
        ("_CONFIG", "config"), ("_RUNTIME", "runtime"), ("_DATA", "data"), ("LAB_SETTINGS", "settings"),
        ("LAB_WORKSPACES", "workspaces"))}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               "--port=0", f"--ServerApp.root_dir={folder}"]
    log = folder / "lab.log"
    with process(command, log, cwd=folder, env={**os.environ, **places, **environment}) as server:
        def started():
            assert server.poll() is None, log.read_text()
            found = list((own / "runtime").glob("jpserver-*.json"))
            return found and json.loads(found[0].read_text() or "null")

        facts = wait(started, log.read_text)
        yield lambda name: f"{facts['url']}lab/tree/{name}?token={facts['token']}"


@contextlib.contextmanager
def page(folder):
    """An empty page of a headless Chromium -> Page."""
    profile, log = folder / "chromium", folder / "chromium.log"
    with process([chromium(), f"--user-data-dir={profile}", *FLAGS], log) as browser:
        def port():
            assert browser.poll() is None, log.read_text(errors="replace")
            file = profile / "DevToolsActivePort"
            return file.is_file() and file.read_text().partition("\n")[0]

        with urlopen(f"http://127.0.0.1:{wait(port, 'a port of Chromium')}/json/list", timeout=60) as answer:
            found = next(t for t in json.load(answer) if t["type"] == "page")
        with contextlib.closing(websocket.create_connection(
                found["webSocketDebuggerUrl"], timeout=PATIENCE, suppress_origin=True)) as socket:
            yield Page(socket)


class Page:
    """A page of a browser: call a DevTools method, evaluate JavaScript, press keys, take a picture."""

    def __init__(self, socket):
        self.socket, self.count, self.events = socket, 0, {}

    def call(self, method, **parameters):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.count:
            self.events[answer["method"]] = answer.get("params")
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def js(self, code):
        """The value of an expression, awaited where it is a promise."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, f"{code}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def until(self, code):
        """Waits until an expression is true; AssertionError with the page's text if it does not become so."""
        wait(lambda: self.js(f"Boolean({code})"), lambda: f"{code}; {self.js('document.body.innerText')}")

    def key(self, name, number):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=number)

    def click(self, element):
        """Clicks with the mouse on an element, a JavaScript expression, once it is there."""
        self.until(f"{element}?.checkVisibility()")
        x, y = self.js(f"(e => {{e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
                       f"return [r.x + r.width / 2, r.y + r.height / 2]}})({element})")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, button, path):
        """Clicks on what asks for a file, and gives it one."""
        self.call("Page.enable")
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        self.click(button)
        asked = wait(lambda: self.js("1") and self.events.get("Page.fileChooserOpened"), "a choice of files")
        self.call("DOM.setFileInputFiles", backendNodeId=asked["backendNodeId"], files=[str(path)])

    def screenshot(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
