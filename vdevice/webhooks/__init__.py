"""An event and its target become an HTTP request; the answer becomes an outcome.

Rules of this room: pure, but for reading the files that a target names; nothing here opens a connection. A value that
a PLC wrote is data everywhere: it is encoded for the place where it stands, so that it never ends a string, a line, a
path segment or a form field that the config began.
"""
