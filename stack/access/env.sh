#!/bin/sh
# Writes .env: .env.example with a random password wherever one must be set. One that is there stays as it is.
set -eu
cd "$(dirname "$0")/../.."
missing() { # FILE: the passwords that it does not set
  sed -nE 's/^([A-Z_]+_PASSWORD)=$/\1/p' .env.example | while read -r name; do
    grep -qE "^$name=." "$1" || echo "$name"
  done
}
if [ -e .env ]; then
  left=$(missing .env)
  [ -z "$left" ] && echo ".env is there already and stays as it is" && exit
  echo ".env is there already and stays as it is, but does not set these; set them or move it away:" $left >&2
  exit 1
fi
umask 077
partial=$(mktemp .env.XXXXXX)
trap 'rm -f "$partial"' EXIT
while IFS= read -r line; do
  printf '%s' "$line"
  case $line in \#*) ;; *_PASSWORD=) od -An -N16 -tx1 /dev/urandom | tr -d ' \n' ;; esac
  echo
done < .env.example > "$partial"
ln "$partial" .env # unlike mv, never over one that came meanwhile
echo "wrote .env with new passwords; only you may read it"
