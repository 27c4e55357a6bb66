#!/usr/bin/env bash
# Installs what the tests need beside the toolchain (scripts/toolchain.sh): real database servers and the
# clients that users have. On a machine where it cannot install, it says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2")
}
need psql postgresql-client
need mariadbd mariadb-server
need nginx nginx-light
need wrk wrk
need redis-server redis-server
need slapd slapd
need pebble pebble
need haproxy haproxy
need caddy caddy
need h2load nghttp2-client
need fio fio
need curl curl
need deck deck
need ansible-playbook ansible-core
need python3 python3
need keytool default-jre-headless
need openssl openssl
need ip iproute2
need nsenter util-linux
[ -x /usr/bin/aws ] || missing+=(awscli) # the second generation; the first comes from PyPI below
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=(postgresql)

if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "installing ${missing[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		# The servers are started by the tests themselves, on ports and directories of their own.
		printf '#!/bin/sh\nexit 101\n' >/tmp/policy-rc.$$ && chmod +x /tmp/policy-rc.$$
		had_policy=yes
		[ -e /usr/sbin/policy-rc.d ] || { had_policy=no; cp /tmp/policy-rc.$$ /usr/sbin/policy-rc.d; }
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
		[ "$had_policy" = yes ] || rm -f /usr/sbin/policy-rc.d
		rm -f /tmp/policy-rc.$$
	else
		echo "missing: ${missing[*]}" >&2
		echo "install them (on Debian: apt-get install ${missing[*]}) and try again" >&2
		exit 1
	fi
fi

# boto3 at the version whose models the AWS shapes are generated from.
want=$(tr -d '[:space:]' <internal/api/aws/awsgen/BOTOCORE)
have=$(python3 -c 'import botocore; print(botocore.__version__)' 2>/dev/null || true)
if [ "$have" != "$want" ] && ! [ "$(.cache/venv/bin/python3 -c 'import botocore; print(botocore.__version__)' 2>/dev/null)" = "$want" ]; then
	echo "installing boto3 $want into .cache/venv"
	python3 -m venv .cache/venv || { echo "missing: python3-venv" >&2; exit 1; }
	.cache/venv/bin/pip install -q "botocore==$want" "boto3==$want" awscli
fi
