"""Measuring a model and writing its card.

For how far a quantised model strays from its original, held-out bits per byte, BLiMP, ARC-easy, PIQA and LAMBADA,
thirty fixed questions, and the Markdown card that tells all of it with its sources. Not for the evaluation inside a
training run (that is `lindos.train`) and not for judging answers: here answers are shown, unedited.
"""

from lindos.evaluate.answers import Question, answers, fixed_questions
from lindos.evaluate.bits import bits_per_byte
from lindos.evaluate.card import LIMITS, write_model_card
from lindos.evaluate.curve import draw_losses, read_run
from lindos.evaluate.divergence import Divergence, divergence, text_windows
from lindos.evaluate.intervals import wilson
from lindos.evaluate.measure import EVERYTHING, evaluate
from lindos.evaluate.published import published
from lindos.evaluate.record import Answer, BitsResult, Evaluation, Figure, TaskResult
from lindos.evaluate.scoring import EvaluationError, Request, Score, score
from lindos.evaluate.tasks import TASKS, Item, load_items, run_task

__all__ = [
    "EVERYTHING",
    "LIMITS",
    "TASKS",
    "Answer",
    "BitsResult",
    "Divergence",
    "Evaluation",
    "EvaluationError",
    "Figure",
    "Item",
    "Question",
    "Request",
    "Score",
    "TaskResult",
    "answers",
    "bits_per_byte",
    "divergence",
    "draw_losses",
    "evaluate",
    "fixed_questions",
    "load_items",
    "published",
    "read_run",
    "run_task",
    "score",
    "text_windows",
    "wilson",
    "write_model_card",
]
