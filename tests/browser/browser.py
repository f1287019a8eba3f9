"""A headless Chromium, spoken to over its debugging pipe."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time

ACCESSIBLE_NAMES = """[...document.querySelectorAll('svg,progress,img,canvas,meter')].map(
    e => ({tag: e.tagName.toLowerCase(), role: e.getAttribute('role') || '',
           name: e.getAttribute('aria-label') || ''}))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Browser:
    """One browser with one page."""

    def __init__(self):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if not program:
            raise RuntimeError("there is no chromium; deploy/install_dependencies.sh --tests")
        self.folder = tempfile.TemporaryDirectory()
        to_browser, self.requests = os.pipe()
        self.answers, from_browser = os.pipe()

        def place_pipes():
            # The browser expects them at 3 and 4, whatever numbers they have here.
            high = [os.dup2(fd, number) for fd, number in ((to_browser, 200), (from_browser, 201))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             "--no-first-run", "--hide-scrollbars", f"--user-data-dir={self.folder.name}"],
            preexec_fn=place_pipes, close_fds=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target,
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        os.close(self.requests)
        os.close(self.answers)
        self.folder.cleanup()

    def read(self):
        while b"\0" not in self.buffer:
            got = os.read(self.answers, 1 << 16)
            if not got:
                raise RuntimeError("the browser has gone")
            self.buffer += got
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url, width, height, dark=False, headers=None):
        """Loads a page as a screen of this size shows it."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Network.setExtraHTTPHeaders", headers=headers or {})
        self.events.clear()
        self.call("Page.navigate", url=url)
        end = time.monotonic() + 30
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            if time.monotonic() > end:
                raise RuntimeError(f"{url} does not load")
            self.events.append(self.read())

    def problems(self):
        """What the page logged as an error, threw, or could not load."""
        self.evaluate("0")  # what was said before has arrived
        found = []
        for event in self.events:
            what = event.get("params", {})
            if event.get("method") == "Log.entryAdded":
                if what["entry"]["level"] in ("error", "warning"):
                    found.append(what["entry"]["text"])
            elif event.get("method") == "Runtime.exceptionThrown":
                found.append(what["exceptionDetails"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled":
                if what["type"] in ("error", "warning", "assert"):
                    found.append(str(what["args"]))
            elif event.get("method") == "Network.loadingFailed":
                found.append("failed: " + what["errorText"])
        return found

    def requested(self):
        """Addresses that the page asked the network for."""
        return [e["params"]["request"]["url"] for e in self.events
                if e.get("method") == "Network.requestWillBeSent"]

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression,
                         returnByValue=True)["result"].get("value")

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(data["data"]))
