"""Count the cases of a test run from meson's log and print those that failed.

    test_count.py testlog.json

A program with cmocka or unittest reports each case; on several ranks a case counts once and fails when it fails on any
of them. A program that dies without a failed case, and a test that is a plain command, count as one. The last line
is "N passed, N failed[, N skipped]"; the exit code is 1 when anything failed.
"""
import json
import re
import sys

CASE = re.compile(r"\[\s+(OK|FAILED|SKIPPED)\s+\] (?!(?:.*: )?\d+ test)(\w[^\s:,]*)")
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(?:OK|FAILED)(?: \((.*)\))?", re.M)
TAIL_LINES = 40


def cases_of(output):
    """Map of case name to the worst of its states over all ranks."""
    rank = {"OK": 0, "SKIPPED": 1, "FAILED": 2}
    cases = {}
    for state, name in CASE.findall(output):
        if rank[state] >= rank[cases.get(name, "OK")]:
            cases[name] = state
    return cases


def unittest_counts(output):
    """Sums (passed, failed, skipped) of the summaries of Python's unittest in an output."""
    total = [0, 0, 0]
    for ran, notes in UNITTEST.findall(output):
        note = dict(re.findall(r"(\w+)=(\d+)", notes))
        failed = int(note.get("failures", 0)) + int(note.get("errors", 0))
        skipped = int(note.get("skipped", 0))
        total = [a + b for a, b in zip(total, (int(ran) - failed - skipped, failed, skipped))]
    return total


def count_test(entry):
    """(passed, failed, skipped, names of failures) of one entry of meson's log."""
    result = entry["result"]
    output = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    states = cases_of(output)
    failed = [name for name, state in states.items() if state == "FAILED"]
    skipped = sum(state == "SKIPPED" for state in states.values())
    passed = len(states) - len(failed) - skipped
    if not states:
        passed, bad, skipped = unittest_counts(output)
        failed = ["unittest"] * bad
    seen = passed + len(failed) + skipped
    good = result in ("OK", "EXPECTEDFAIL")
    if result == "SKIP" and not seen:
        skipped = 1
    elif good and not seen:
        passed = 1
    elif not good and result != "SKIP" and not failed:
        failed = [result.lower()]
    return passed, failed, skipped


def main(path):
    passed = failed = skipped = 0
    with open(path) as log:
        entries = [json.loads(line) for line in log if line.strip()]
    seconds = 0.0
    for entry in entries:
        good, bad, left_out = count_test(entry)
        passed, failed, skipped = passed + good, failed + len(bad), skipped + left_out
        seconds += entry.get("duration") or 0
        if bad:
            output = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
            print(f"FAILED {entry['name']} ({entry['result']}): {', '.join(bad)}")
            print("\n".join("    " + line for line in output.strip().splitlines()[-TAIL_LINES:]))
    print(f"{len(entries)} test programs, {seconds:.0f} s of test time")
    if not entries:
        failed = 1
    tail = f", {skipped} skipped" if skipped else ""
    print(f"{passed} passed, {failed} failed{tail}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
