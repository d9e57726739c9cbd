"""Domain values as arw.v1 messages and back. Knows no service and decides nothing."""
