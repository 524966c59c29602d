"""A task: foresee the next chord of a piece, and write pieces.

One file each:

- `task`: settings, data, figures and answers; `model`: the network;
- `chorales`: the generated chorales that it learns from where no file is given;
- `rolls`: piano rolls, names of pitches, and the files that they are read from;
- `midi`: rolls from MIDI files, and to them; `sound`: rolls to .wav files;
- `requests`: what a user may ask; `baselines`, `picture`.
"""

from rnnjax.tasks.music.task import Music as Music
