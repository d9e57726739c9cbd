"""Makes desired state so on one machine: starts, supervises and reports inference engines."""
