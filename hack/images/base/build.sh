#!/usr/bin/env bash
# Builds a Debian base image out of the distribution's packages, for a host that reaches its apt mirror and no image
# registry. Usage: build.sh SUITE TAG [PACKAGE...]. The host's own certificate authorities go in, so that apt-get and
# pip work inside `docker build` wherever they work on the host. 35 seconds.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

suite=$1 tag=$2
shift 2
packages=$(IFS=, && echo "ca-certificates${*:+,$*}")
authorities=/usr/local/share/ca-certificates
mkdir -p "$authorities"

key=$(content_key "$suite $packages" "${BASH_SOURCE[0]}" "$authorities")
[[ $(image_label "$tag") != "$key" ]] || exit 0

need_packages mmdebstrap
mirror=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null \
  | sed -nE 's#^(URIs:|deb) +(\[[^]]*\] +)?(https?://[^ ]+).*#\3#p' | head -1 || true)
[[ -n $mirror ]] || die "this host's apt configuration names no Debian mirror, so $tag cannot be built"

say "building $tag from Debian packages (about 35 s)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016 # the hooks' $1 is mmdebstrap's
mmdebstrap --quiet --variant=minbase --include="$packages" \
  --customize-hook="mkdir -p \"\$1$authorities\" && cp -a $authorities/. \"\$1$authorities/\"" \
  --customize-hook='chroot "$1" update-ca-certificates >/dev/null 2>&1' \
  --customize-hook='rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*' \
  "$suite" "$work/rootfs.tar" "deb $mirror $suite main"
docker import --change 'CMD ["bash"]' --change "LABEL argus.inputs=$key" "$work/rootfs.tar" "$tag" >/dev/null
