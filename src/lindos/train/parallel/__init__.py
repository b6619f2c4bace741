"""Layouts applied: a model divided over many processes, which compute what one process would."""
