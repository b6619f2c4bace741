"""The assistant beside the bare model: what search and gate add to a first token, and what a thousand streams get."""
