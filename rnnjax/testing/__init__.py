"""Floor 4: `check_cell` holds a cell, ours or yours, to the contract of `rnnjax.Cell`.

A user's own cell, and the test that proves it:

    >>> import jax, jax.numpy as jnp, rnnjax
    >>> from rnnjax.testing import check_cell
    >>> def decay_step(params, h, x):  # h_t = a ⊙ h_{t-1} + x_t
    ...     h = params["a"] * h + x
    ...     return h, h
    >>> decay = rnnjax.Cell(
    ...     name="decay",
    ...     init=lambda key, x_spec: {"a": jnp.full(3, 0.9)},
    ...     initial_state=lambda params, batch_shape=(), *, key=None: jnp.zeros((*batch_shape, 3)),
    ...     step=decay_step,
    ...     output_of=lambda h: h,
    ... )
    >>> report = check_cell(decay, 3)
    >>> report.cell, report.outcomes[0].law
    ('decay', 'shapes')

One that is wrong, as its rows see each other, fails with the law, the step, the row and a cause:

    >>> import dataclasses
    >>> def centred_step(params, h, x):
    ...     return decay_step(params, h, x - x.mean(0))
    >>> check_cell(dataclasses.replace(decay, name="centred", step=centred_step), 3)
    Traceback (most recent call last):
    ...
    AssertionError: centred breaks "rows independent" (a row alone gives what it gives in a...

Each law is a small function of the files beside this one; `LAWS` has them in the order of the
checks: what the later ones need, the earlier ones have shown. The reference for sequences is
`_case._alone`: each row's real steps, packed together, under `jax.lax.scan` and plain autodiff.
"""

from rnnjax.testing._kit import LAWS as LAWS
from rnnjax.testing._kit import Outcome as Outcome
from rnnjax.testing._kit import Report as Report
from rnnjax.testing._kit import check_cell as check_cell
from rnnjax.testing._law import Law as Law
