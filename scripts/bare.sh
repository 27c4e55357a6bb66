#!/usr/bin/env bash
# Proves the README's two commands on a bare Debian root that has Go, git, make and gcc alone. Needs
# root and debootstrap. Run it before each release.
#
#   scripts/bare.sh            # make demo: what is missing is said in a second, then it works
#   scripts/bare.sh test       # make test too: as long as the whole suite takes
#   ROOT=DIR scripts/bare.sh   # keep the root, and use it again
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "scripts/bare.sh makes a root file system: run it as root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "missing: debootstrap (apt-get install debootstrap)" >&2; exit 1; }
if [ -z "${BARE_INSIDE:-}" ]; then # mounts go with the namespace
	exec env BARE_INSIDE=1 unshare --mount --propagation private "$0" "$@"
fi

root=${ROOT:-}
if [ -z "$root" ]; then
	root=$(mktemp -d)
	trap '{ ! mountpoint -q "$root" || umount -R "$root"; } && rm -rf --one-file-system "$root"' EXIT
fi
if [ ! -e "$root/usr/bin/gcc" ]; then
	debootstrap --variant=minbase --include=git,make,gcc,libc6-dev,ca-certificates bookworm "$root" >"$root.log" 2>&1 ||
		{ tail -n 5 "$root.log" >&2; exit 1; }
	cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
fi
rm -f "$root.log"
mount --bind "$root" "$root"
mkdir -p "$root/usr/local" "$root/root/go/pkg/mod" "$root/root/.config/go"
[ -e "$root/usr/local/go" ] || cp -r "$(go env GOROOT)" "$root/usr/local/go"
cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
cp "$(go env GOENV)" "$root/root/.config/go/env" 2>/dev/null || true
cp -r /etc/ssl/certs/. "$root/etc/ssl/certs/"
for f in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
	[ ! -e "$f" ] || cp "$f" "$root/etc/pip.conf"
done
mount --bind "$(go env GOMODCACHE)" "$root/root/go/pkg/mod" # modules are what any machine has after the first build
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# A root that is a mount point, with a sysfs of its own, is one in which ip(8) can make namespaces.
mount -t sysfs sysfs "$root/sys"
rm -rf "$root/src"
git clone -q . "$root/src"

inside() {
	chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		${http_proxy:+http_proxy=$http_proxy} ${https_proxy:+https_proxy=$https_proxy} ${GOPROXY:+GOPROXY=$GOPROXY} \
		${PIP_INDEX_URL:+PIP_INDEX_URL=$PIP_INDEX_URL} CI=true /bin/bash -euo pipefail -c "cd /src; $1"
}

echo "== without g++: make demo says what is missing"
began=$(date +%s)
if said=$(inside 'make demo' 2>&1); then
	echo "make demo works without g++"
else
	echo "$said"
	[ $(($(date +%s) - began)) -le 5 ] || { echo "it took longer than five seconds to say so" >&2; exit 1; }
	grep -q 'apt-get install.* g++' <<<"$said" || { echo "it does not name the package" >&2; exit 1; }
fi
echo "== with g++: make demo"
inside 'apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ >/dev/null'
inside 'make demo'
if [ "${1:-}" = test ]; then
	echo "== make test"
	inside 'make test'
fi
echo "== the commands of the README work on a bare root"
