#!/usr/bin/env python3
"""`dashboard` on a real federation, looked at with a headless browser.

    dashboard_test.py --binaries DIR [--screenshots DIR]

The coordinator runs with the small anchor and a contributor that has offered an expert. The
page must be there for those with the password only, change nothing, follow the server's state,
say so when the server is gone, and read well at the width of a desk and of a phone, light and
dark, without a word on the console and without asking the network for anything else.
"""

import argparse
import base64
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "browser"))
from browser import ACCESSIBLE_NAMES, Browser, OVERFLOW  # noqa: E402
from federation import Contributor, Coordinator  # noqa: E402


class Dashboard:
    def __init__(self, binaries, home):
        self.process = subprocess.Popen(
            [binaries / "tributary-coordinator", "--home", home, "--format", "json", "dashboard",
             "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True)
        said = ""
        for line in self.process.stdout:
            said += line
            if line.startswith("}"):
                break
        start = json.loads(said)
        self.url = start["url"]
        self.headers = {"Authorization": "Basic " + base64.b64encode(
            f"operator:{start['password']}".encode()).decode()}

    def get(self, path, headers=None):
        request = urllib.request.Request(self.url + path,
                                         headers=self.headers if headers is None else headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        assert code == 0, code


def check_access(dashboard):
    for headers in ({}, {"Authorization": "Basic b3BlcmF0b3I6eA=="}):
        status, answered, text = dashboard.get("", headers)
        assert status == 401 and "Basic" in answered["WWW-Authenticate"], (status, text)
        assert "contribution" not in text
    status, answered, _ = dashboard.get("")
    assert status == 200 and answered["Cache-Control"] == "no-store", (status, answered)
    assert dashboard.get("nothing")[0] == 404
    request = urllib.request.Request(dashboard.url, data=b"{}", method="POST", headers={
        **dashboard.headers, "Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=30)
        raise AssertionError("a POST was accepted")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error.code


def check_pictures(dashboard, folder):
    with Browser() as browser:
        for name, width, height, dark in (("desk", 1280, 900, False), ("phone", 390, 844, False),
                                          ("phone-dark", 390, 844, True)):
            browser.open(dashboard.url + "still", width, height, dark, dashboard.headers)
            assert browser.problems() == [], browser.problems()
            assert len(browser.requested()) == 1, browser.requested()
            assert browser.evaluate(OVERFLOW) <= 0, f"{name}: wider than the screen"
            pictures = browser.evaluate(ACCESSIBLE_NAMES)
            assert pictures and all(p["name"] for p in pictures), pictures
            colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(255, 255, 255)") != dark, colour
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                browser.screenshot(folder / f"dashboard-{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--screenshots", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        coordinator = Coordinator(options.binaries, folder / "coordinator")
        coordinator.init()
        coordinator.serve()
        dashboard = Dashboard(options.binaries, folder / "coordinator")
        try:
            check_access(dashboard)
            assert "There are none yet" in dashboard.get("")[2]
            coordinator.publish()
            invitation = coordinator.invite("clinic")
            coordinator.invite("library")
            site = Contributor(options.binaries, folder / "site")
            site.init(invitation, "domain_a", 128)
            site("run", "--once", timeout=600)
            coordinator("release", "build", "--wait")
            state = {"latest_release": ""}
            while not state["latest_release"]:  # what was asked a moment ago is shown again
                state = json.loads(dashboard.get("state.json")[2])
            assert state["contributors"] == 2 and state["latest_release"] == "releases/1", state
            assert [row["state"] for row in state["contributions"]] == ["ACCEPTED"], state
            assert len(state["audit_head_hash"]) == 64 and state["audit_records"] >= 4, state
            page = dashboard.get("")[2]
            assert "releases/1" in page and state["audit_head_hash"] in page
            check_pictures(dashboard, options.screenshots)
            coordinator.stop()
            status, _, page = dashboard.get("still")
            while status == 200:  # until what was asked a moment ago is old
                status, _, page = dashboard.get("still")
            assert status == 503 and "This is not the present state" in page, (status, page)
            assert "releases/1" in page
        finally:
            dashboard.stop()
            coordinator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
