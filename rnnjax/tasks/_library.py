"""The text that is on every machine: the sources of Python's standard library."""

from __future__ import annotations

import hashlib
import pathlib
import sysconfig
from collections.abc import Iterator

from rnnjax.train.files import read_verbatim

# Left out of the standard library: its tests, what a distribution may or may not install, and
# tables that are data rather than code.
_LEFT_OUT = {
    *("test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"),
    *("encodings", "pydoc_data"),
}


def library_sources() -> Iterator[tuple[str, str]]:
    """Name and text of the standard library's sources, in the order of a hash of the names."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    names = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*.py")
        if not _LEFT_OUT.intersection(path.relative_to(root).parts)
        and not path.name.startswith("_sysconfigdata")  # written by each machine's own build
    }
    if not names:
        raise ValueError(f"no Python sources in {root}: pass a text of your own")
    for name in sorted(names, key=hashed):
        try:
            yield name, read_verbatim(names[name])
        except ValueError:  # one or two sources are not UTF-8, on purpose
            continue


def hashed(name: str) -> str:
    """What puts names into an order that has nothing to do with them."""
    return hashlib.sha256(name.encode()).hexdigest()
