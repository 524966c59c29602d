"""How JAX compiles for tests, set on import: before jax is imported, and for processes they start.

The programs of a test run once or twice, so to optimise them takes longer than it saves; a folder
keeps them, for all processes of a run and for the next one.
"""

import os
import pathlib

SETTINGS = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(__file__).parent.parent / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "KERAS_BACKEND": "jax",  # keras reads it once
}

for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)
