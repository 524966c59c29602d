"""Scripts beside the package, as modules."""

import importlib.util
import pathlib
import types

ROOT = pathlib.Path(__file__).parent.parent


def script(path: str) -> types.ModuleType:
    """What a script of the repository defines, such as docs/make_api.py."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
