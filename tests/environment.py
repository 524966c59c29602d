"""How JAX compiles for tests, set on import: before jax is imported, and for processes they start.

The programs of a test run once or twice, so to optimise them takes longer than it saves; a folder
keeps them, for all processes of a run and for the next one.
"""

import importlib.metadata
import os
import pathlib

SETTINGS = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(__file__).parent.parent / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "KERAS_BACKEND": "jax",  # keras reads it once
}

if importlib.metadata.version("jaxlib").startswith("0.10."):
    # A quarter of the time again; later releases do not know the first of them.
    SETTINGS["XLA_FLAGS"] = (
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    )

# Whether tests run in their long versions, as `make slow` does.
LONG = os.environ.get("RNNJAX_SLOW") == "1"

for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)
