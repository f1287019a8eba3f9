#!/usr/bin/env python3
"""`model serve` with the real worker: answers, streams, many clients, signals, sandbox.

    serve_test.py --binary tributary-coordinator

The model is the small anchor of the fixtures; what it says is compared with `model
generate` and `model logits`.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import torch
from safetensors.torch import load_file, save_file

from serving import Server, TINY_ANCHOR

BINARY = None
PROMPT = "The server writes the log to the disk and then"


def cli(*arguments):
    done = subprocess.run([BINARY, "--format", "json", *map(str, arguments)], text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout)


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split() + [
        child for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)
        for child in (task / "children").read_text().split()]


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(BINARY, TINY_ANCHOR, "--max-sequences", 8, "--threads", 2)

    @classmethod
    def tearDownClass(cls):
        code, log = cls.server.stop()
        assert code == 0, log

    def complete(self, **fields):
        status, answer = self.server.ask("/v1/completions", {"temperature": 0, **fields})
        self.assertEqual(status, 200, answer)
        return answer

    def test_greedy_text_is_that_of_generate(self):
        wanted = cli("model", "generate", "--model", TINY_ANCHOR, "--prompt", PROMPT,
                     "--max-tokens", 24)["text"]
        answer = self.complete(prompt=PROMPT, max_tokens=24)
        self.assertEqual(answer["choices"][0]["text"], wanted)
        parts = list(self.server.stream("/v1/completions",
                                        {"prompt": PROMPT, "max_tokens": 24, "temperature": 0}))
        self.assertEqual("".join(p["choices"][0]["text"] for p in parts), wanted)
        self.assertGreater(len(parts), 10)

    def test_scores_are_those_of_logits(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            torch.manual_seed(3)
            ids = torch.randint(5, 2000, (3, 40))
            save_file({"input_ids": ids}, folder / "ids")
            cli("model", "logits", "--model", TINY_ANCHOR, "--input", folder / "ids",
                "--output", folder / "logits")
            logits = load_file(folder / "logits")["logits"]
        wanted = torch.log_softmax(logits, -1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        answer = self.complete(prompt=ids.tolist(), max_tokens=1, logprobs=1, echo=True)
        for index, choice in enumerate(answer["choices"]):
            self.assertEqual(choice["index"], index)
            scores = choice["logprobs"]["token_logprobs"]
            self.assertEqual(len(scores), 41)
            self.assertIsNone(scores[0])
            difference = (torch.tensor(scores[1:40]) - wanted[index]).abs().max().item()
            self.assertLess(difference, 5e-5)
            for token, top in zip(scores[1:], choice["logprobs"]["top_logprobs"][1:]):
                self.assertIn(token, top.values())
                self.assertLessEqual(token, max(top.values()))

    def test_many_clients_get_what_one_gets(self):
        prompts = [PROMPT + " again" * i for i in range(12)]
        alone = [self.complete(prompt=p, max_tokens=16)["choices"][0]["text"] for p in prompts]
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            together = list(pool.map(
                lambda p: self.complete(prompt=p, max_tokens=16)["choices"][0]["text"], prompts))
        self.assertEqual(alone, together)
        text = self.server.ask("/metrics")[1]
        metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        self.assertGreater(float(metrics["tributary_model_step_tokens"]),
                           float(metrics["tributary_model_steps"]))
        self.assertEqual(float(metrics["tributary_model_cache_tokens"]), 0)

    def test_seeds_choices_and_stops(self):
        fields = {"prompt": PROMPT, "max_tokens": 12, "temperature": 1, "n": 3, "seed": 5}
        texts = [[c["text"] for c in self.complete(**fields)["choices"]] for _ in range(2)]
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(len(set(texts[0])), 3)
        whole = self.complete(prompt=PROMPT, max_tokens=24)["choices"][0]["text"]
        stop = whole[6:9]
        cut = self.complete(prompt=PROMPT, max_tokens=24, stop=[stop])["choices"][0]
        self.assertEqual(cut["text"], whole[:whole.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_what_does_not_fit_is_refused(self):
        for body, status in (({"prompt": "a", "max_tokens": 5000}, 400),
                             ({"prompt": [[5] * 600], "max_tokens": 1}, 400),
                             ({"prompt": [99999]}, 400), ({"prompt": "a", "model": "x"}, 404)):
            got, answer = self.server.ask("/v1/completions", body)
            self.assertEqual(got, status, answer)
            self.assertTrue(answer["error"]["message"])
        status, answer = self.server.ask(
            "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})
        self.assertEqual((status, answer["error"]["code"]), (400, "no_chat_template"))

    def test_the_worker_has_no_sockets(self):
        (worker,) = children(self.server.process.pid)
        links = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{worker}/fd").iterdir()]
        self.assertTrue(any(link.startswith("pipe:") for link in links))
        self.assertFalse([link for link in links if link.startswith("socket:")])
        status = pathlib.Path(f"/proc/{worker}/status").read_text()
        self.assertIn("Seccomp:\t2", status)


class Lifecycle(unittest.TestCase):
    def test_running_answers_end_before_the_server(self):
        with Server(BINARY, TINY_ANCHOR, "--drain", 200) as server:
            parts = server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 100,
                                                      "temperature": 0.5, "seed": 1})
            text = next(parts)["choices"][0]["text"]
            server.process.send_signal(signal.SIGTERM)
            for part in parts:
                text += part["choices"][0]["text"]
                reason = part["choices"][0]["finish_reason"]
            self.assertIn(reason, ("length", "stop"))
            # A second signal would end it at once.
            code, log = server.stop(ask=False)
            self.assertEqual(code, 0, log)
            self.assertIn("stopped", log)

    def test_a_killed_worker_is_replaced(self):
        with Server(BINARY, TINY_ANCHOR) as server:
            (worker,) = children(server.process.pid)
            os.kill(int(worker), signal.SIGKILL)
            status = 0
            for _ in range(300):
                status, answer = server.ask("/v1/completions",
                                            {"prompt": PROMPT, "max_tokens": 1})
                if status == 200:
                    break
                self.assertEqual(status, 503, answer)
                time.sleep(0.1)
            self.assertEqual(status, 200)
            self.assertEqual(server.ask("/health")[1]["worker_restarts"], 1)

    def test_the_key_is_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            key = pathlib.Path(folder) / "key"
            key.touch(mode=0o600)
            key.write_text("a-key-of-enough-length\n")
            with Server(BINARY, TINY_ANCHOR, "--api-key-file", key) as server:
                self.assertEqual(server.ask("/v1/models")[0], 401)
                self.assertEqual(server.ask("/health")[0], 200)
                status, models = server.ask(
                    "/v1/models", headers={"Authorization": "Bearer a-key-of-enough-length"})
                self.assertEqual((status, models["data"][0]["id"]), (200, "model"))

    def test_a_chat_follows_the_models_template(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder) / "chat"
            model.mkdir()
            for file in TINY_ANCHOR.iterdir():
                (model / file.name).symlink_to(file)
            (model / "chat_template.jinja").write_text(
                "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] "
                "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
                "{{ '<|im_start|>assistant\\n' }}{% endif %}")
            # The folder holds links: the worker reads what they point to.
            real = pathlib.Path(folder) / "real"
            subprocess.run(["cp", "-rL", model, real], check=True)
            with Server(BINARY, real) as server:
                messages = [{"role": "system", "content": "Be brief."},
                            {"role": "user", "content": "What is a log?"}]
                status, chat = server.ask("/v1/chat/completions",
                                          {"messages": messages, "max_tokens": 12,
                                           "temperature": 0})
                self.assertEqual(status, 200, chat)
                text = ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
                        "What is a log?<|im_end|>\n<|im_start|>assistant\n")
                status, plain = server.ask("/v1/completions", {"prompt": text, "max_tokens": 12,
                                                               "temperature": 0})
                self.assertEqual(chat["choices"][0]["message"]["content"],
                                 plain["choices"][0]["text"])
                self.assertEqual(chat["usage"], plain["usage"])

    def test_wrong_starts_are_told(self):
        for arguments, code in ((["--model", "/nowhere"], 4), ([], 3),
                                (["--model", TINY_ANCHOR, "--listen", "0.0.0.0:0"], 6),
                                (["--model", TINY_ANCHOR, "--listen", "nowhere"], 3)):
            done = subprocess.run([BINARY, "model", "serve", *map(str, arguments)],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    known, rest = parser.parse_known_args()
    BINARY = known.binary
    unittest.main(argv=[sys.argv[0], *rest])
