"""The agent's end of the data path: connections parked at the control plane, pumped to engines."""
