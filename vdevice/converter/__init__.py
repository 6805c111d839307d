"""The protocol converter: typed points in the process image, and the rules that make strings of their values.

Rules of this room: no IO and no clock of its own; a write goes in, what it caused comes out, and can be taken back where
it could not be stored. `values` converts, `points` reads and writes registers, `image` knows which point a write made
whole, `rules` decides what follows from it.
"""
