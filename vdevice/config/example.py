"""The commented `vdevice.toml` that `vdevice init` writes."""

EXAMPLE = """\
# vdevice.toml: a string that a PLC writes to target 1 goes out as a webhook.
# `vdevice check` lists every mistake in here; `vdevice run` starts the device; SIGHUP makes it read this file again.

[device]
id = "vdevice"                  # shown in the identity, and as $DEVICE
timezone = "UTC"                # for $TIMESTAMP and $ISOTIME, like "Europe/Berlin"

[modbus]
listen = "127.0.0.1:5020"       # "0.0.0.0:502" lets other machines in; then name them in allow
unit_id = 1                     # 0 and 255 are answered as well
# allow = ["10.0.0.0/24"]       # empty: every address

# [modbus.clients.boiler]       # the client's name for $SOURCECONNECTION and the log
# address = "10.0.0.5"          # or a network

[outbox]
url = "sqlite:///vdevice.db"    # relative to this file
max_messages = 100000           # what waits at most; no target gets more than half
keep_failed = 30                # days that dead letters are kept
keep_delivered = 24             # hours that delivered ones are kept

[delivery]                      # may be set in each target as well
timeout = 10                    # seconds
attempts = 10
backoff = 1                     # seconds, doubling up to backoff_max
backoff_max = 300
max_age = 86400                 # seconds until a waiting string is too old

# Target 1: a PLC writes its text to holding registers 1000.. (401001..) in one FC16 request.
[targets.1]
description = "Boiler room"
method = "post-raw"             # get, post-urlencoded, post-multipart, post-raw, put, delete, slack, teams, mattermost
url = "http://127.0.0.1:9000/alarm"   # `vdevice receive` listens there
content_type = "application/json"
payload = \'\'\'{"text": "$VALUE", "from": "$DESCRIPTION", "at": "$ISOTIME"}\'\'\'
# byte_order = "little"         # Schneider, CODESYS, Delta: the first character is in the low byte
# completion = "content"        # texts in several writes; with registers = 10 for SCADA tags of 10 registers
# trim = true                   # cut blanks and line breaks at the end of the text
# ignore_empty = true           # an empty text makes no message
# trigger = "change"            # for PLCs that write the same text in every cycle

# [targets.2]
# method = "slack"
# url = { env = "SLACK_WEBHOOK_URL" }   # a secret: from the environment, or { file = "slack.url" }
# payload = "*$DESCRIPTION*: $VALUE"

# Points name and type places in the device block (holding registers and coils 0..899); rules make strings of them.
# [[points]]
# name = "boiler temperature"
# space = "holding"               # or "coil"
# address = 100                   # reference 400101
# type = "float32"                # bool, int16, uint16, int32, uint32, int64, float32, float64, string
# word_order = "little"           # low word first

# [[rules]]
# description = "Boiler too hot"
# source = "boiler temperature"
# trigger = "rising"              # write, change, rising, falling
# when = { above = 90, hysteresis = 5 }
# template = "$DESCRIPTION: $SOURCEVALUE °C"
# destinations = ["target/1"]
"""
