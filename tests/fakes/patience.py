"""How patient tests are."""

SLACK = 3
"""Limits are said for a quiet machine; on a busy one it may take so many times longer."""
