"""A serving process for tests and measurements: `tributary-coordinator model serve`."""

import http.client
import json
import pathlib
import signal
import subprocess
import sys
import sysconfig
import threading

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TINY_ANCHOR = REPOSITORY / "tests/fixtures/tiny_anchor"
LM_EVAL = ("lm_eval[api]==0.4.13", "accelerate==1.15.0")


class Server:
    """Serves a model on a free port until it is left."""

    def __init__(self, binary, model, *arguments):
        command = [str(binary), "--format", "json", "model", "serve", "--model", str(model),
                   "--listen", "127.0.0.1:0", "--name", "model", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self.reader.start()
        said = ""
        for line in self.process.stdout:
            said += line
            if line.startswith("}"):
                break
        if not said:
            raise RuntimeError(f"the server did not start: {self.stop()}")
        self.url = json.loads(said)["url"]
        self.host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, ask=True):
        """Asks it to end and waits until it has; its exit code and log."""
        if ask and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, "".join(self.log)

    def connect(self, path, body=None, headers=None):
        """An open response; a body makes it a POST."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        headers = dict(headers or {})
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            connection.request("POST", path, json.dumps(body), headers)
        return connection.getresponse()

    def ask(self, path, body=None, headers=None):
        """Status and answer."""
        response = self.connect(path, body, headers)
        text = response.read().decode()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def stream(self, path, body):
        """Yields the JSON of each part as it comes."""
        response = self.connect(path, {**body, "stream": True})
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read().decode()}")
        for line in response:
            if line.startswith(b"data: ") and b"[DONE]" not in line:
                yield json.loads(line[6:])


def lm_eval_interpreter(folder):
    """Python with lm_eval, and torch and transformers of this environment."""
    python = folder / "bin/python"
    mark = folder / "installed"
    if not mark.is_file() or mark.read_text() != str(LM_EVAL):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        own = subprocess.run([python, "-c",
                              "import sysconfig; print(sysconfig.get_path('purelib'))"],
                             check=True, capture_output=True, text=True).stdout.strip()
        # What is here already is not installed again.
        (pathlib.Path(own) / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                        "--progress-bar", "off", *LM_EVAL], check=True)
        mark.write_text(str(LM_EVAL))
    return python
