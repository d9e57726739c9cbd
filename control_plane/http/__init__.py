"""Read models and events over HTTP, for dashboards and scripts."""
