"""Unpacks parts of wheels: TARGET, then for each wheel its PATH, SHA256 and PATTERNS (joined by "|").

Run by `cargo xtask setup`. The hash is checked before anything is written.
"""
import fnmatch
import hashlib
import os
import sys
import zipfile


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def unpack(path, sha256, patterns, target):
    name = os.path.basename(path)
    found = digest(path)
    if found != sha256:
        sys.exit("error: %s is damaged or not the expected file: SHA-256 %s, expected %s" % (path, found, sha256))
    print("unpacking " + name, flush=True)
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        for pattern in patterns:
            wanted = [n for n in names if fnmatch.fnmatchcase(n, pattern) and not n.endswith("/")]
            if not wanted and not pattern.startswith(("*.dist-info", "nvidia/*/")):
                sys.exit("error: %s holds no %s" % (name, pattern))
            for n in wanted:
                wheel.extract(n, target)  # checks the CRC and never leaves the target


def main():
    target, rest = sys.argv[1], sys.argv[2:]
    for i in range(0, len(rest), 3):
        try:
            unpack(rest[i], rest[i + 1], rest[i + 2].split("|"), target)
        except (OSError, zipfile.BadZipFile) as e:
            sys.exit("error: cannot unpack %s: %s" % (os.path.basename(rest[i]), e))


main()
