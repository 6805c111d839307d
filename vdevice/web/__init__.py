"""The page, its API and the metrics.

Rules of this room: handlers take plain structs and return plain structs, `routes` is the one table of them, which OpenAPI is
made from; what a page needs beyond that it asks of the device through `Device`. Nothing here knows Modbus frames or SQL.
"""
