"""Thousands of prompts from a file through the API's own routes, without a network between."""

from lindos.server.batch.answers import AnswersFile, BatchError
from lindos.server.batch.run import Standing, run_batch
from lindos.server.batch.tasks import Task, read_tasks

__all__ = ["AnswersFile", "BatchError", "Standing", "Task", "read_tasks", "run_batch"]
