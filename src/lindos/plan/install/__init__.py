"""Installing a model on a machine: where its weights lie, and how fast it answers."""
