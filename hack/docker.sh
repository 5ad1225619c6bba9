#!/usr/bin/env bash
# Makes sure that a Docker engine answers: the one that is there, else Debian's, installed and started by hand, as a host
# without systemd needs. 10 seconds from nothing. An engine started here ends with the session that started it; run
# this again, and it comes back with its images and containers.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly LOG=/var/log/argus-dockerd.log RUNTIME=/usr/local/libexec/argus/runc-current-caps

docker info >/dev/null 2>&1 && exit 0
[[ $EUID == 0 && $(uname -s) == Linux ]] || die "no Docker engine answers: start it (as root on Debian, this would do so)"
if have systemctl && [[ -d /run/systemd/system ]]; then
  have dockerd || need_packages docker.io
  systemctl start docker
  wait_for 60 docker info || die "the Docker engine does not answer; see: journalctl -u docker"
  exit 0
fi

have dockerd || need_packages docker.io iptables
# The userland proxy costs some 50 µs of CPU for each small request on a published port; the kernel forwards as well.
arguments=(--log-level warn --userland-proxy=false)
if ! has_capability "$CAP_SYS_RESOURCE"; then
  have python3 || need_packages python3
  install -D -m 0755 "$ROOT/hack/runc_current_caps.py" "$RUNTIME" # outlives this checkout, as the engine may
  arguments+=(--add-runtime "narrowed=$RUNTIME" --default-runtime narrowed)
fi
say "starting a Docker engine (about 10 s; log: $LOG)"
pgrep -x dockerd >/dev/null || rm -f /var/run/docker.pid # of a killed engine, whose number another process may have by now
setsid dockerd "${arguments[@]}" >>"$LOG" 2>&1 </dev/null &
wait_for 60 docker info || {
  tail -n 20 "$LOG" >&2
  die "the Docker engine does not start; the last lines of $LOG are above"
}
