"""This process among others: its clock, its lock, its run file, its ports."""
