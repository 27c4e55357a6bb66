#!/usr/bin/env bash
# Says in a second what a build would miss after minutes: Go, a C compiler, and the C++ library
# that the SQL engine is linked with.
set -euo pipefail

missing=() packages=()
want=$(sed -n 's/^go //p' "$(dirname "$0")/../go.mod")
if ! command -v go >/dev/null 2>&1; then
	missing+=("go $want or newer (https://go.dev/dl)")
elif have=$(go env GOVERSION | sed 's/^go//; s/[^0-9.].*//') && [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
	missing+=("go $want or newer: this is $have")
fi
cc=$(go env CC 2>/dev/null || echo cc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int main(void) { return 0; }' >"$work/main.c"
if ! command -v "${cc%% *}" >/dev/null 2>&1; then
	missing+=("a C compiler ($cc)")
	packages+=(gcc libc6-dev)
elif ! $cc -o "$work/main" "$work/main.c" 2>"$work/log"; then
	missing+=("the C library's headers ($cc cannot build a program: $(tail -n 1 "$work/log"))")
	packages+=(libc6-dev)
fi
if [ ${#packages[@]} -eq 0 ] && ! $cc -o "$work/main" "$work/main.c" -lstdc++ 2>/dev/null; then
	missing+=("the C++ standard library, which the SQL engine is linked with")
	packages+=(g++)
fi
[ ${#missing[@]} -eq 0 ] && exit 0
printf 'missing: %s\n' "${missing[@]}" >&2
[ ${#packages[@]} -gt 0 ] && echo "on Debian: apt-get install ${packages[*]}" >&2
exit 1
