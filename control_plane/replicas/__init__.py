"""One of several control planes on one database: what it shares with the others, and who leads."""
