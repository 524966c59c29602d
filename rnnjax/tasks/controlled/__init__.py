"""Tasks that tell cells apart: what is asked is known, how far away it lies is a setting.

Each is trained on sequences of up to T, and judged on longer ones, too. `_base.py` says what all
have alike; the files say what each is: `regular` what finite automata can do, `grammars` which
symbols may come next, `memory` what is to be kept, `chaos` series that never repeat.
"""
