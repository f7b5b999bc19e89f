"""Layering: a file includes layers above its own only, and a third-party header stays in its layer.

    test_layers.py ROOT     checks ROOT/src and ROOT/include/skyquilt, prints each offence, exits 1 if there is any
"""
import pathlib
import re
import sys

# A layer may include itself and those before it.
LAYERS = ["base", "par", "sky", "fits", "nn", "fourier", "store", "sim", "probe", "catalog",
          "clusters", "lensing", "assess", "run", "cli"]

# Who may include what, by the first characters of the header's name.
THIRD_PARTY = {
    "xxhash": {"base"},
    "mpi": {"par", "store"},
    "wcslib/": {"sky"},
    "chealpix": {"sky"},
    "fitsio": {"fits"},
    "zlib": {"fits"},
    "bzlib": {"fits"},
    "json-c/": {"fits"},
    "longnam": {"fits"},
    "protobuf-c": {"nn"},
    "onnx": {"nn"},
    "dnnl": {"nn"},
    "oneapi/": {"nn"},
    "fftw3": {"fourier"},
    "hdf5": {"store"},
    "H5": {"store"},
    "cyaml": {"run"},
    "yaml": {"run"},
}

# Private headers that another layer may include: store/ hands the MPI handle of a communicator to HDF5.
FRIENDS = {("store", "par/comm_internal.h")}

# C11, POSIX and Linux.
SYSTEM = set("""
assert complex ctype errno fcntl fenv float inttypes limits math stdalign stdarg stdatomic stdbool stddef
stdint stdio stdlib string tgmath time
dirent dlfcn execinfo fnmatch ftw getopt glob libgen linux/magic malloc poll pthread pwd sched semaphore signal
strings sys/file sys/mman sys/resource sys/socket sys/stat sys/statfs sys/statvfs sys/sysinfo sys/time sys/types
sys/uio sys/utsname sys/vfs sys/wait unistd
cpuid immintrin x86intrin
""".split())

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def offences(layer, lines, public):
    """(line number, reason) of every include that a file of `layer` may not have. `public` holds the headers of
    include/skyquilt, as they are included."""
    found = []
    allowed = LAYERS[:LAYERS.index(layer) + 1]
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, name = match.groups()
        owner = next((who for prefix, who in THIRD_PARTY.items() if name.startswith(prefix)), None)
        first = name.split("/")[0]
        if bracket == '"' and first in LAYERS and "/" in name:
            if first not in allowed:
                found.append((number, f"{layer}/ includes {name}: {first}/ is a layer below"))
            elif first != layer and name not in public and (layer, name) not in FRIENDS:
                found.append((number, f"{layer}/ includes {name}, a private header of {first}/"))
        elif owner is not None:
            if layer not in owner:
                found.append((number, f"{layer}/ includes {name}, which belongs to {', '.join(sorted(owner))}/"))
        elif bracket == '"':
            found.append((number, f'"{name}" is not a full path such as "sky/patch.h"'))
        elif not (name.endswith(".h") and name[:-2] in SYSTEM):
            found.append((number, f"<{name}> is neither a system header nor a known library"))
    return found


def sources(root):
    for folder in (root / "src", root / "include" / "skyquilt"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".c", ".h"):
                yield path, path.relative_to(folder)


def self_test():
    """The check must see the offences that it is for."""
    public = {"base/mem.h", "store/shard.h", "sky/patch.h"}
    cases = [
        ("sky", '#include "base/mem.h"', 0), ("sky", '#include "sky/zones.h"', 0), ("sky", "#include <math.h>", 0),
        ("sky", '#include "store/shard.h"', 1), ("base", '  #  include "sky/patch.h"', 1),
        ("store", '#include "sky/zones.h"', 1), ("sky", '#include "zones.h"', 1), ("run", "#include <mpi.h>", 1),
        ("store", "#include <mpi.h>", 0), ("fits", "#include <fitsio.h>", 0), ("sim", "#include <fitsio.h>", 1),
        ("sim", '#include "fitsio.h"', 1), ("assess", "#include <hdf5.h>", 1), ("cli", "#include <fftw3.h>", 1),
        ("nn", '#include "onnx.pb-c.h"', 0), ("catalog", "#include <oneapi/dnnl/dnnl.h>", 1),
        ("store", '#include "par/comm_internal.h"', 0), ("run", '#include "par/comm_internal.h"', 1),
        ("run", "#include <curl/curl.h>", 1), ("run", '// see #include "cli/commands.h"', 0),
    ]
    for layer, line, expected in cases:
        got = offences(layer, [line], public)
        assert len(got) == expected, (layer, line, got)


def main():
    self_test()
    root = pathlib.Path(sys.argv[1])
    public = {str(p.relative_to(root / "include" / "skyquilt"))
              for p in (root / "include" / "skyquilt").rglob("*.h")}
    files = bad = 0
    for path, relative in sources(root):
        layer = relative.parts[0]
        if len(relative.parts) == 1:
            # src/main.c stands below all layers.
            layer = LAYERS[-1]
        if layer not in LAYERS:
            print(f"{path}: {layer}/ is not a layer")
            bad += 1
            continue
        files += 1
        for number, reason in offences(layer, path.read_text().splitlines(), public):
            print(f"{path.relative_to(root)}:{number}: {reason}")
            bad += 1
    print(f"{files} files, {bad} offences")
    return 1 if bad or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
