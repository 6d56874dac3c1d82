# SPDX-License-Identifier: MIT
"""`pml info`, --version and --help, as people and scripts see them."""
import json
import os
import re
import sys

from harness import check, main, run

COMMANDS = ("info", "dirty", "wss", "detach")


def test_json_keys():
    """pml info --json is one object with the keys of the contract."""
    result = run("info", "--json")
    check(result.returncode == 0, result.stderr)
    info = json.loads(result.stdout)
    for key in ("kernel", "device", "backends"):
        check(key in info, key, "is missing")
    check(info["kernel"] == os.uname().release, info["kernel"])
    check(info["backends"], "no back-end is listed")


def test_backend_keys():
    """Every back-end has its keys, and a reason if and only if it is not available."""
    for backend in json.loads(run("info", "--json").stdout)["backends"]:
        check(isinstance(backend["name"], str) and backend["name"], backend)
        check(isinstance(backend["available"], bool), backend)
        check(isinstance(backend["external"], bool), backend)
        check(isinstance(backend["granularity"], int), backend)
        check(set(backend["events"]) <= {"dirty", "referenced"}, backend)
        check(bool(backend["reason"]) != backend["available"], backend)


def test_text_agrees():
    """The text output names every back-end that the JSON output names."""
    text = run("info").stdout
    for backend in json.loads(run("info", "--json").stdout)["backends"]:
        line = re.search(rf"^ +{backend['name']} +(\w+)", text, re.M)
        check(line, backend["name"], "is not in the text")
        check((line[1] == "yes") == backend["available"], line[0])


def test_version():
    """pml --version tells the version of the command and of the library."""
    result = run("--version")
    check(result.returncode == 0)
    check(re.fullmatch(r"pml \d+\.\d+\.\d+ \(libpml \d+\.\d+\.\d+\)\n", result.stdout),
          result.stdout)


def test_help():
    """pml --help names every command, and every command has its own help."""
    text = run("--help").stdout
    for command in COMMANDS:
        check(command in text, command, "is not in the help")
        result = run(command, "--help")
        check(result.returncode == 0, command)
        check(result.stdout.startswith(f"Usage: pml {command}"), result.stdout)
        check(result.stderr == "", result.stderr)


def test_full_disk():
    """When its output cannot be written, pml info fails and says so."""
    for args in (["info"], ["info", "--json"], ["--version"]):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = run_into(full, *args)
        check(result.returncode == 1, args, result.returncode)
        check("No space left" in result.stderr, result.stderr)


def run_into(out, *args):
    import subprocess
    from harness import PML
    return subprocess.run([PML, *args], stdout=out, stderr=subprocess.PIPE, text=True,
                          check=False)


main(sys.modules[__name__])
