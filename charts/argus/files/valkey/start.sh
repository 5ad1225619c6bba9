#!/bin/sh
# The password comes from the environment by standard input, since arguments show in `ps`.
exec valkey-server /etc/argus/valkey.conf - <<END
requirepass "$VALKEY_PASSWORD"
END
