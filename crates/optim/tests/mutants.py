"""Spoils one place of a rule's source at a time and asks the tests: python mutants.py [how many] [seed] [file of src/rules ...]

For elementwise rules `tests/mutation.rs` spoils every operation without a build; this is for matrix rules and plans.
Prints every mutant that compiles and that no test notices. Works in place, restores each file, stops at Ctrl-C.
"""

import pathlib
import random
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
TESTS = ["formulas", "matrices", "trajectories"]
CHANGES = [
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " / "),
    (r" / ", " * "),
    (r"-self\.lr", "self.lr"),
    (r"\.sqrt\(\)", ""),
    (r"\.max\(", ".min("),
    (r"\.min\(", ".max("),
    (r"1\.0 - self\.", "self."),
    (r" > ", " < "),
    (r" < ", " > "),
    (r"L::select\(([^,]+), ([^,]+), ([^,()]+)\)", r"L::select(\1, \3, \2)"),
    (r"self\.beta1", "self.beta2"),
]


def mutants():
    only = sys.argv[3:]
    for file in sorted((HERE / "src/rules").glob("*.rs")):
        if only and file.name not in only:
            continue
        lines = file.read_text().split("\n")
        for i, line in enumerate(lines):
            code = line.split("//")[0]
            if re.match(r"\s*(use|pub|fn|impl|#|struct|/)", code) or "assert" in code or '"' in code or "Range::" in code:
                continue
            for old, new in CHANGES:
                for m in re.finditer(old, code):
                    changed = code[: m.start()] + m.expand(new) + code[m.end() :]
                    yield file, i, line, changed


def run(*more):
    command = ["cargo", "test", "-q", "-p", "wengert-optim", "--config", "profile.dev.package.wengert-optim.opt-level=0"]
    return subprocess.run(command + list(more), cwd=HERE, capture_output=True, text=True)


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    chosen = list(mutants())
    print(len(chosen), "mutants,", most, "of them tried")
    random.Random(seed).shuffle(chosen)
    tests = [a for t in TESTS for a in ("--test", t)]
    killed = broken = 0
    for file, i, old, new in chosen[:most]:
        text = file.read_text()
        lines = text.split("\n")
        lines[i] = new
        try:
            file.write_text("\n".join(lines))
            r = run(*tests)
        finally:
            file.write_text(text)
        if "could not compile" in r.stderr:
            broken += 1
        elif r.returncode:
            killed += 1
        else:
            print(f"survives: {file.name}:{i + 1}\n  - {old.strip()}\n  + {new.strip()}", flush=True)
    print(f"{killed} noticed, {broken} did not compile, {min(most, len(chosen)) - killed - broken} survive")


main()
