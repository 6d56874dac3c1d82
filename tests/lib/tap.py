# SPDX-License-Identifier: MIT
"""Runs the tests of a Python file that CTest calls, and prints TAP."""
import subprocess


def main(names):
    """Runs the functions test_... among these; the exit status."""
    tests = [value for name, value in sorted(names.items()) if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__doc__}", flush=True)
        except (AssertionError, ValueError, subprocess.TimeoutExpired) as error:
            failed = 1
            print(f"not ok {number} - {test.__doc__}\n# {error!r}", flush=True)
    return failed
