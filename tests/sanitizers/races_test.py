"""A race of our own counts, wherever else reports come from.

    races_test.py PLANTED_RACE
"""

import os
import pathlib
import subprocess
import sys
import tempfile


def main():
    races = pathlib.Path(__file__).with_name("races.py")
    with tempfile.TemporaryDirectory() as folder:
        def judged():
            return subprocess.run([sys.executable, races, folder],
                                  capture_output=True, text=True)
        assert judged().returncode == 0
        # The two threads may by chance not meet.
        for _ in range(20):
            subprocess.run([sys.argv[1]], check=True, stdout=subprocess.DEVNULL,
                           env=os.environ | {"TSAN_OPTIONS":
                                             f"exitcode=0:log_path={folder}/race"})
            if any(pathlib.Path(folder).iterdir()):
                break
        result = judged()
    assert result.returncode == 1, result.stdout
    assert "data race between ours and ours" in result.stdout, result.stdout


if __name__ == "__main__":
    main()
