"""How far it goes: the arithmetic of docs/scale.md, a simulation that checks it, and a measurement of what an id costs NATS."""
