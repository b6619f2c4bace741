"""The planner's answers on a terminal and as pages."""
