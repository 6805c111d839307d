"""Simulated PLCs: what controllers of all kinds do to a device, from a scenario file."""
