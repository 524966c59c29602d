"""What costs too much is found, on machines of any speed."""

import types

from ledger import MANY, Ledger

FILES = [f"tests/test_{i}.py" for i in range(MANY)]


def complaints(seconds, asserted=True):
    found = Ledger(types.SimpleNamespace(getoption=lambda name: asserted))
    found.budgets = {"any other": 10, **dict.fromkeys(FILES, 20)}
    found.seconds.update(seconds)
    return found.complaints()


def test_a_file_that_has_grown_is_found_on_a_slow_machine():
    usual = dict.fromkeys(FILES, 20)
    assert not complaints(usual)
    assert not complaints({**usual, FILES[0]: 39, "tests/test_other.py": 19})
    (told,) = complaints({**usual, FILES[0]: 41})
    assert told == f"{FILES[0]}: 41 CPU seconds, more than 2.0 times its budget of 20"
    assert not complaints({**usual, FILES[0]: 41}, asserted=False)
    slow = dict.fromkeys(FILES, 60)
    assert not complaints({**slow, FILES[0]: 119})
    assert complaints({**slow, FILES[0]: 121, "tests/test_other.py": 61}) == [
        f"{FILES[0]}: 121 CPU seconds, more than 6.0 times its budget of 20",
        "tests/test_other.py: 61 CPU seconds, more than 6.0 times its budget of 10",
    ]
    # A fast machine forgives nothing, and a few files say nothing of a machine.
    assert len(complaints({**dict.fromkeys(FILES, 5), FILES[0]: 41})) == 1
    assert len(complaints({FILES[0]: 60, FILES[1]: 60})) == 2


def test_maps_are_bounded():
    found = Ledger(types.SimpleNamespace(getoption=lambda name: False))
    found.maps = [30_000]
    assert found.complaints() == ["30000 memory maps in one process: at most 20000"]
