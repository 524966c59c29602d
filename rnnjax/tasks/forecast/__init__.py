"""A task: forecast series over several steps, with bands."""

from rnnjax.tasks.forecast.task import Forecast as Forecast
