#!/usr/bin/env bash
# Brings up a cluster of twelve nodes on one machine: three for control and nine others by
# role, each a host of its own (a network namespace with an address), over one PostgreSQL.
# What it does to a namespace is what you would do to a machine. It needs root, iproute2 and,
# unless STORE_URL names a database, PostgreSQL's programs.
set -euo pipefail

usage() {
	cat <<-END
		usage: $0 up|status|down DIRECTORY

		  up      start the cluster; DIRECTORY is made, and holds all of it
		  status  list its nodes and what runs on them
		  down    stop it and take its hosts away; DIRECTORY stays

		variables:
		  SLUICE     the program (default: sluice of PATH)
		  NAME       what its hosts' names begin with, at most six letters (default: twelve)
		  NET        the first three numbers of the hosts' network (default: 10.90.0)
		  STORE_URL  a PostgreSQL, MySQL or MariaDB that the hosts reach (default: a PostgreSQL of its own)
	END
	exit 2
}
[ $# = 2 ] || usage
action=$1 dir=$2
program=$(command -v "${SLUICE:-sluice}") || { echo "there is no program ${SLUICE:-sluice}: set SLUICE" >&2; exit 1; }
name=${NAME:-twelve} net=${NET:-10.90.0}

# The plan: NAME ROLE, in the order of the hosts' addresses. control1 is started first.
plan="control1 control
control2 control
control3 control
data1 data
gate1 gate
gate2 gate
gate3 gate
gate4 gate
gate5 gate
edge1 edge
edge2 edge
edge3 edge"

address() { # address NAME: of a host
	echo "$net.$(awk -v n="$1" '$1 == n { print NR }' <<<"$plan")"
}

# The database, as the user postgres: it does not run as root.
database() {
	local bin pg=$dir/postgres
	bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
	mkdir "$pg"
	(umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$pg.password")
	cp "$pg.password" "$pg/password"
	chown -R postgres "$pg"
	(cd / && setpriv --reuid postgres --regid postgres --init-groups "$bin/initdb" -D "$pg/data" -U sluice --auth=scram-sha-256 --pwfile="$pg/password" -E UTF8 --locale=C -N >/dev/null)
	rm "$pg/password"
	echo "host all all $net.0/24 scram-sha-256" >>"$pg/data/pg_hba.conf"
	(cd / && exec setsid setpriv --reuid postgres --regid postgres --init-groups "$bin/postgres" -D "$pg/data" -h "$net.254" -k "$pg" -c max_connections=300) \
		</dev/null >"$dir/postgres.log" 2>&1 &
	echo $! >"$dir/postgres.pid"
	export PGPASSWORD
	PGPASSWORD=$(cat "$pg.password")
	for _ in $(seq 100); do
		psql -q -h "$net.254" -U sluice -d postgres -c "create database sluice" 2>"$dir/psql.err" && break
		sleep 0.1
	done
	psql -q -h "$net.254" -U sluice -d sluice -c "select 1" >/dev/null
	STORE_URL="postgres://sluice:$PGPASSWORD@$net.254:5432/sluice?sslmode=disable"
}

# One configuration for all: what is said here must be the same on every node.
configuration() {
	local hosts="" node
	while read -r node _; do hosts+="$(address "$node")[7800],"; done <<<"$plan"
	(umask 077 && cat >"$dir/sluice.yaml" <<-END
		store:
		  url: $STORE_URL
		  connections: 10
		root:
		  passphrase: $(head -c 18 /dev/urandom | base64)
		cluster:
		  enabled: true
		  discovery: tcp-fixed
		  hosts: ${hosts%,}
		  data_node: data1
		kong:
		  admin_auth: true
	END
	)
}

# What is a node's own is in three variables.
start() { # start NAME ROLE
	: >"$dir/$1.out"
	SLUICE_HOST=$(address "$1") SLUICE_CLUSTER_NODE=$1 SLUICE_CLUSTER_ROLES=$2 \
		setsid ip netns exec "$name-$1" "$program" serve --config "$dir/sluice.yaml" --data "$dir/$1" </dev/null >"$dir/$1.out" 2>"$dir/$1.log" &
	echo $! >"$dir/$1.pid"
}

ready() { # ready NAME: waits for it
	for _ in $(seq 600); do
		grep -q "sluice is ready" "$dir/$1.out" && return
		kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null || break
		sleep 0.1
	done
	echo "node $1 did not start:" >&2
	tail -n 5 "$dir/$1.log" >&2
	return 1
}

up() {
	[ "$(id -u)" = 0 ] || { echo "network namespaces need root" >&2; exit 1; }
	mkdir "$dir"
	chmod 711 "$dir"
	dir=$(cd "$dir" && pwd)
	trap 'echo "bringing it down again" >&2; down' ERR
	ip link add "$name" type bridge
	ip address add "$net.254/24" dev "$name"
	ip link set "$name" up
	local node role
	while read -r node role; do
		ip netns add "$name-$node"
		ip link add "$name-$node" type veth peer name eth0 netns "$name-$node"
		ip link set "$name-$node" master "$name" up
		ip -n "$name-$node" link set lo up
		ip -n "$name-$node" address add "$(address "$node")/24" dev eth0
		ip -n "$name-$node" link set eth0 up
	done <<<"$plan"
	[ -n "${STORE_URL:-}" ] || database
	configuration
	start control1 control
	ready control1
	while read -r node role; do [ "$node" = control1 ] || start "$node" "$role"; done <<<"$plan"
	while read -r node _; do ready "$node"; done <<<"$plan"
	status
}

status() {
	"$program" node list --data "$dir/control1"
	SLUICE_DATA=$dir/control1 "$program" maprcli node list -columns ip,svc,health
}

down() {
	local file
	for file in "$dir"/*.pid; do
		[ -e "$file" ] || continue
		[ "$file" = "$dir/postgres.pid" ] || stop "$file" TERM
	done
	[ ! -e "$dir/postgres.pid" ] || stop "$dir/postgres.pid" INT
	ip netns list | awk -v n="$name-" 'index($1, n) == 1 { print $1 }' | xargs -r -n 1 ip netns delete
	ip link delete "$name" 2>/dev/null || true # not there yet, or no more
}

stop() { # stop PIDFILE SIGNAL
	local pid
	pid=$(cat "$1")
	kill "-$2" "$pid" 2>/dev/null || true # it has ended
	for _ in $(seq 300); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	rm "$1"
}

case $action in
up) up ;;
status) status ;;
down) down ;;
*) usage ;;
esac
