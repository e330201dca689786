#!/bin/bash
# Sourced by `samba` and `slapd`: what both need to run a server for as long as somebody holds their standard input open.
#
# Whoever starts a server keeps the other end of its standard input. When that process ends, however it ends, the pipe closes and the
# server is stopped: exactly that one, by its process group.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The accounts' password, as people.py has it.
password=Phone.Passw0rd
people=2000

# Debian's python3 has Debian's python packages; another one may come first in the PATH.
python=/usr/bin/python3

say() { echo "$(basename "$0"): $*" >&2; }

# hold FILE: waits until nobody else holds it. The server inherits the lock, so that it is free again only when the server is gone.
hold() {
  [ -e "$1" ] || (umask 0 && : >"$1")
  exec 9<"$1"
  flock -w 300 9 || { say "somebody else has held $1 for five minutes"; exit 1; }
}

# unless_made DIR COMMAND ...: runs the command to make DIR, unless it was made before by the scripts as they are now.
unless_made() {
  local made=$1 stamp lock
  shift
  stamp=$(cat "$here"/* | sha256sum)
  mkdir -p "$(dirname "$made")"
  exec {lock}>"$made.lock"
  flock "$lock"
  if [ "$(cat "$made/made-by" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$made"
    mkdir -p "$made"
    "$@" "$made"
    echo "$stamp" >"$made/made-by"
  fi
  exec {lock}>&-
}

# A CA, and a certificate for every name that a server of the tests goes by: make_certificates DIR.
make_certificates() {
  local names=DNS:localhost,DNS:dc1.corp.example,IP:127.0.0.1 i
  for i in 1 2 3 11 12 13 14 15 16 17 18 19; do names+=",IP:127.0.66.$i"; done
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Test CA" -keyout "$1/ca.key" -out "$1/ca.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=dc1.corp.example" -keyout "$1/server.key" -out "$1/server.csr" 2>/dev/null
  openssl x509 -req -in "$1/server.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 825 -out "$1/server.pem" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names") 2>/dev/null
  chmod 600 "$1/ca.key" "$1/server.key"
}

# serve_until_alone ADDRESS PORT LOG COMMAND ...: starts the server, prints "ready" when the port answers, and ends it as it hears on
# standard input.
serve_until_alone() {
  local address=$1 port=$2 log=$3 tries word
  shift 3
  setsid "$@" </dev/null >"$log" 2>&1 &
  server=$!
  trap stop_server EXIT
  trap 'exit 1' INT TERM HUP
  for tries in $(seq 600); do
    if (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then break; fi
    if [ "$tries" = 600 ] || ! kill -0 "$server" 2>/dev/null; then
      say "the server did not come up on $address:$port; its log ends:"
      tail -20 "$log" >&2
      exit 1
    fi
    sleep 0.1
  done
  echo ready
  # The word "kill": it ends as by a power cut. The end of input: it is stopped.
  if read -r word && [ "$word" = kill ]; then
    kill -9 -- "-$server"
    wait "$server" 2>/dev/null || true
    trap - EXIT
  fi
}

stop_server() {
  kill "$server" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 -- "-$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
}
