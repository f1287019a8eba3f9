#!/usr/bin/env python3
"""Runs lm_eval on models behind our server and, where asked for, in transformers.

    evaluate.py --binary tributary-coordinator --environment DIR --tasks DIR
        --model NAME=DIRECTORY ... [--reference NAME=DIRECTORY] [--output FILE]

Every task that make_task.py wrote into --tasks is run with `--model local-completions`
against `model serve`, and with `--model hf` for the reference. Prints a table of
accuracies; --output has every question's log-likelihoods as well. lm_eval lives in an
environment of its own (--environment), made when it is missing. Needs no network once
that is there.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from serving import Server, lm_eval_interpreter

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def run_lm_eval(python, kind, model_args, tasks, batch=8):
    """{task: {"acc", "acc_norm", "questions": [[log-likelihood of each choice]]}}"""
    names = sorted(path.stem for path in tasks.glob("*.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "lm_eval", "run", "--model", kind, "--model_args", model_args,
                   "--include_path", tasks, "--tasks", ",".join(names),
                   "--batch_size", batch, "--output_path", folder, "--log_samples"]
        cache = {"HF_HOME": folder + "/cache"}
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              check=False, env={**os.environ, **OFFLINE, **cache})
        if done.returncode != 0:
            raise RuntimeError(f"lm_eval --model {kind}: exit code {done.returncode}\n"
                               f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
        results = json.loads(next(pathlib.Path(folder).rglob("results_*.json")).read_text())
        scores = {}
        for name in names:
            found = results["results"][name]
            samples = next(pathlib.Path(folder).rglob(f"samples_{name}_*.jsonl"))
            questions = [[float(answer[0][0]) for answer in json.loads(line)["resps"]]
                         for line in samples.read_text().splitlines()]
            scores[name] = {"acc": found["acc,none"], "acc_norm": found["acc_norm,none"],
                            "questions": questions}
    return scores


def through_server(options, python, model, tokenizer):
    with Server(options.binary, model, *options.serve) as server:
        return run_lm_eval(
            python, "local-completions",
            f"model=model,base_url={server.url}/v1/completions,tokenizer={tokenizer},"
            f"tokenizer_backend=huggingface,num_concurrent={options.concurrent},max_retries=1,"
            f"max_length={options.max_length}",
            options.tasks, options.batch)


def through_transformers(options, python, model):
    return run_lm_eval(python, "hf",
                       f"pretrained={model},dtype=float32,max_length={options.max_length}",
                       options.tasks, options.batch)


def largest_difference(a, b):
    """Of log-likelihoods of the same choices."""
    return max(abs(x - y) for name in a
               for p, q in zip(a[name]["questions"], b[name]["questions"], strict=True)
               for x, y in zip(p, q, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--environment", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", type=pathlib.Path, required=True)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIRECTORY")
    parser.add_argument("--reference", metavar="NAME=DIRECTORY")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--concurrent", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=500)
    parser.add_argument("--serve", action="append", default=[],
                        help="further argument of model serve")
    options = parser.parse_args()
    python = lm_eval_interpreter(options.environment.absolute())
    columns = {}
    for text in options.model:
        name, _, model = text.partition("=")
        tokenizer = pathlib.Path(model) / "anchor"
        columns[name] = through_server(options, python, model,
                                       tokenizer if tokenizer.is_dir() else model)
    if options.reference:
        name, _, model = options.reference.partition("=")
        columns[name] = through_transformers(options, python, model)
        base = next(iter(columns))
        print(f"largest difference of a log-likelihood between {base} and {name}: "
              f"{largest_difference(columns[base], columns[name]):.2e}")
    names = sorted(next(iter(columns.values())))
    print("task".ljust(20) + "questions  " + "".join(f"{c:>24}" for c in columns))
    for name in names:
        cells = "".join(f"{columns[c][name]['acc']:>16.3f} ({columns[c][name]['acc_norm']:.3f})"
                        for c in columns)
        size = len(columns[next(iter(columns))][name]["questions"])
        print(f"{name:<20}{size:>9}  {cells}")
    if options.output:
        options.output.write_text(json.dumps(columns, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
