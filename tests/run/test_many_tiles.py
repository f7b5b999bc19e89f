"""Memory of a start with many tiles, and of a plan with many patches: peak resident set of every process.

An index of tiles that are not there (make_index) is started by three ranks, which stop before the first patch: what
a rank holds grows by less than BYTES a tile of five bands. `plan` of 10^8 patches takes no more memory than of 10^3.

Usage: test_many_tiles.py MAKE_INDEX [TILES]   (environment: SQ_PROGRAM, SQ_SOURCE; 20000 tiles when not given)
"""
import json
import os
import subprocess
import sys
import tempfile

FEW, RANKS = 2000, 3  # few: as many as are read at a time
BYTES = 1300  # a tile of five bands with checksums is packed to 900; the rest is for the owner and the numbers of patches
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMP_NUM_THREADS="1")
ENV.pop("MALLOC_PERTURB_", None)  # of meson: it fills, and so touches, memory that is only reserved


def child(note, command):
    """Run a command and note how much memory it took, and its exit code: mpirun kills the others when one's is not 0."""
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    with open(f"{note}.{ENV.get('OMPI_COMM_WORLD_RANK', '0')}", "w") as f:
        f.write(f"{usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")


def measure(top, *command, ranks=1, code=0):
    """Peak memory of each rank in bytes, and what was printed."""
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    own = [sys.executable, os.path.abspath(__file__), "--child", f"{top}/peak"]
    done = subprocess.run(launch + own + list(command), env=ENV, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    peaks = []
    for r in range(ranks):
        with open(f"{top}/peak.{r}") as f:
            peak, left = map(int, f.read().split())
        assert r > 0 or left == code, f"{command}: exit code {left}\n{done.stdout}{done.stderr}"
        peaks.append(1024 * peak)
        os.remove(f"{top}/peak.{r}")
    return peaks, done.stdout


def configure(top, make, tiles, side):
    path = f"{top}/{tiles}-{side}"
    subprocess.run([make, f"{path}.h5", str(tiles), str(side)], check=True)
    model = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "sdss.onnx")
    with open(f"{path}.yaml", "w") as f:
        f.write(f"probe: catalog\nindex: {path}.h5\nmodel: {model}\noutput: {path}\npatch: {{core: 128}}\n"
                "execution: {walltime: 0.000001}\n")
    return f"{path}.yaml"


def plan(top, path):
    (peak,), text = measure(top, os.environ["SQ_PROGRAM"], "plan", path, "--measure", "0", "--json")
    patches = json.loads(text)["patches"]
    print(f"plan of {patches} patches: {peak / 1e6:.1f} MB")
    return patches, peak


def main(top, make, tiles):
    small, large = (plan(top, configure(top, make, 200, side)) for side in (256, 90000))
    assert small[0] < 2000 and 0.9e8 < large[0] < 1.1e8
    assert large[1] < small[1] + 4e6, "plan holds something for every patch"
    program = os.environ["SQ_PROGRAM"]
    few, many = (measure(top, program, "run", configure(top, make, n, 2048), "--quiet", ranks=RANKS, code=3)[0]
                 for n in (FEW, tiles))
    for r in range(RANKS):
        growth = (many[r] - few[r]) / (tiles - FEW)
        print(f"rank {r}: {few[r] / 1e6:.1f} MB with {FEW} tiles, {many[r] / 1e6:.1f} MB with {tiles}: "
              f"{growth:.0f} bytes a tile")
        # Rank 0's scheduler adds a byte a patch, of which such a tile has 272.
        limit = BYTES + (272 if r == 0 else 0)
        assert growth < limit, f"rank {r} holds {growth:.0f} bytes a tile"


if sys.argv[1] == "--child":
    child(sys.argv[2], sys.argv[3:])
    sys.exit()
with tempfile.TemporaryDirectory(prefix="skyquilt-tiles-") as place:
    main(place, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20000)
