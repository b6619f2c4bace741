"""What is watched while a run trains: exchanges that never end, ranks slower than others, losses that jump."""
