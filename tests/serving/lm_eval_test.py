#!/usr/bin/env python3
"""EleutherAI's lm_eval, unchanged, against `model serve` and against transformers.

    lm_eval_test.py --binary tributary-coordinator --environment DIR

A small task is made from the fixtures' text; `--model local-completions` through our server
and `--model hf` on the same directory must give every choice of every question the same
log-likelihood and so the same scores. lm_eval lives in an environment of its own (DIR), made
when it is missing.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from evaluate import largest_difference, run_lm_eval
from serving import REPOSITORY, Server, TINY_ANCHOR, lm_eval_interpreter

TEXT = REPOSITORY / "tests/fixtures/text/public_heldout.jsonl"
TOLERANCE = 1e-3  # of the sum over a choice's tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--environment", type=pathlib.Path, required=True)
    options = parser.parse_args()
    python = lm_eval_interpreter(options.environment.absolute())
    with tempfile.TemporaryDirectory() as folder:
        tasks = pathlib.Path(folder)
        subprocess.run([sys.executable, pathlib.Path(__file__).with_name("make_task.py"),
                        "--text", f"public={TEXT}", "--output", tasks, "--questions", "24"],
                       check=True)
        with Server(options.binary, TINY_ANCHOR) as server:
            ours = run_lm_eval(python, "local-completions",
                               f"model=model,base_url={server.url}/v1/completions,"
                               f"tokenizer={TINY_ANCHOR},tokenizer_backend=huggingface,"
                               "num_concurrent=2,max_retries=1,max_length=500", tasks)
        theirs = run_lm_eval(python, "hf",
                             f"pretrained={TINY_ANCHOR},dtype=float32,max_length=500", tasks)
    difference = largest_difference(ours, theirs)
    name = "heldout_public"
    print(f"accuracy {ours[name]['acc']:.3f} and {theirs[name]['acc']:.3f}, normalised "
          f"{ours[name]['acc_norm']:.3f} and {theirs[name]['acc_norm']:.3f}; log-likelihoods "
          f"differ by at most {difference:.1e}")
    same = all(ours[name][key] == theirs[name][key] for key in ("acc", "acc_norm"))
    return 0 if same and difference < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
