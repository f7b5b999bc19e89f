"""The counting of test cases in tools/test_count.py.

    test_counts.py SOURCE
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(sys.argv.pop(1), "tools", "test_count.py")
GOOD = "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n[  PASSED  ] 2 test(s).\n"
BAD = ("[ RUN      ] a\n[       OK ] a\n[  ERROR   ] --- 1 != 2\n[  FAILED  ] b\n[  SKIPPED ] c\n"
       "[  FAILED  ] tests: 1 test(s), listed below:\n[  FAILED  ] b\n\n 1 FAILED TEST(S)\n")


def entry(result, stdout="", name="t"):
    return {"name": name, "result": result, "stdout": stdout, "stderr": "", "duration": 1.0}


class Counts(unittest.TestCase):
    def count(self, *entries):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            log.write("".join(json.dumps(e) + "\n" for e in entries))
            log.flush()
            done = subprocess.run([sys.executable, SCRIPT, log.name], capture_output=True, text=True, check=False)
        return done.stdout.splitlines()[-1], done.returncode

    def test_cases_are_counted(self):
        self.assertEqual(self.count(entry("OK", GOOD), entry("OK")), ("3 passed, 0 failed", 0))

    def test_a_case_counts_once_on_many_ranks(self):
        self.assertEqual(self.count(entry("OK", GOOD * 3)), ("2 passed, 0 failed", 0))

    def test_a_failure_on_one_rank_is_a_failure(self):
        self.assertEqual(self.count(entry("FAIL", GOOD + BAD)), ("1 passed, 1 failed, 1 skipped", 1))

    def test_a_dead_program_is_a_failure(self):
        self.assertEqual(self.count(entry("FAIL", GOOD)), ("2 passed, 1 failed", 1))
        self.assertEqual(self.count(entry("TIMEOUT")), ("0 passed, 1 failed", 1))

    def test_skipped_programs(self):
        self.assertEqual(self.count(entry("SKIP"), entry("OK", GOOD)), ("2 passed, 0 failed, 1 skipped", 0))

    def test_unittest(self):
        text = "Ran 5 tests in 1.0s\n\nFAILED (failures=1, errors=1, skipped=1)\n"
        self.assertEqual(self.count(entry("FAIL", text)), ("2 passed, 2 failed, 1 skipped", 1))
        self.assertEqual(self.count(entry("OK", "Ran 5 tests in 1.0s\n\nOK\n")), ("5 passed, 0 failed", 0))

    def test_nothing_ran(self):
        self.assertEqual(self.count(), ("0 passed, 1 failed", 1))


if __name__ == "__main__":
    unittest.main()
