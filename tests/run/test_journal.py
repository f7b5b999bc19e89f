"""What rank 0 keeps of a large survey's ledger does not grow but for a byte and some bits a task."""
import json
import subprocess
import sys
import tempfile

LEAST, MOST = 10_000, 400_000


def measure(tasks):
    with tempfile.TemporaryDirectory(dir=".") as folder:
        run = subprocess.run([sys.argv[1], folder, str(tasks)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout)


few, many = measure(LEAST), measure(MOST)
assert few["checked"] == LEAST and many["checked"] == MOST, (few, many)
a_task = (many["peak_bytes"] - few["peak_bytes"]) / (MOST - LEAST)
print(f"{a_task:.1f} bytes a task; {many['replay_seconds'] / MOST * 1e6:.2f} us a line")
assert a_task < 12, (few, many)
