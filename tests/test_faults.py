"""Four faults of each kind of work: tests/faults.py in short (`make faults` is the long form)."""
import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import faults
some = faults.FAULTS[:1] + faults.FAULTS[2:]              # instants depend on the machine
wrong = faults.run(list(faults.KINDS), 4, seed=int(sys.argv[2]), faults=some)
sys.exit(bool(wrong))
"""


def test_what_is_killed_or_has_no_disk_ends_as_what_was_not():
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CODE, Path(__file__).parent, "1"], env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all: faults 20, " in done.stdout and "lost 0, corrupted 0, redone 0" in done.stdout
