"""A task: write down what is said, letter by letter, by connectionist temporal classification.

By default it is digits of a small formant synthesiser, said one after the other by voices that
differ, and judged on other voices: generated, all of it. `voices="espeak"` has an installed
espeak-ng say them; `recordings` is a folder of a user's own, whatever is said there.
"""

from rnnjax.tasks.speech.task import Speech as Speech
