#!/bin/sh
# Formats the volume's storage once, then runs the broker: the same for apache/kafka and for the
# image that hack/images/kafka builds.
set -eu
properties=/etc/argus/server.properties
if [ ! -f /var/lib/kafka/data/log/meta.properties ]; then
  /opt/kafka/bin/kafka-storage.sh format --ignore-formatted --config "$properties" \
    --cluster-id "$(/opt/kafka/bin/kafka-storage.sh random-uuid | tail -n 1)"
fi
exec /opt/kafka/bin/kafka-server-start.sh "$properties"
