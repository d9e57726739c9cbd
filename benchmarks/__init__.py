"""Measures against something run beside it, never against the clock alone."""
