"""The data path: takes clients' requests and carries them to engines on nodes, byte for byte."""
