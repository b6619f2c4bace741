"""Peer comparisons: both sides in one run on one machine, in turn, printed as ratios with their spread."""
