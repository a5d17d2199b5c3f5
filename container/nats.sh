#!/bin/sh
# nats.sh CONFIGURATION STORE: runs nats-server, passes on what it says, and ends it when it has to be started again.
#
# After one write that failed, for want of room say, a stream of nats-server stores nothing more, room or not, until the server is
# started again. It tells that in its log alone. So once there is room the server is ended here; who started this starts it again
# (in compose.yaml: `restart: unless-stopped`).
set -u
configuration=$1 store=$2
said=/tmp/nats-said.$$
umask 077

until_room() {
  until head -c 1048576 /dev/zero >"$store/room" 2>/dev/null; do
    rm -f "$store/room" # the half of it that found room
    sleep 1
    kill -0 "$server" 2>/dev/null || return # it ended by itself
  done
  rm -f "$store/room"
  echo "there is room again: nats-server is started again" >&2
  kill -TERM "$server"
}

pass_on() {
  failed=
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in
      *"ritical write error"*)
        [ "$failed" ] && continue
        failed=yes
        echo "nats-server could not write; it is started again when its disk has room" >&2
        until_room &
        ;;
    esac
  done
}

rm -f "$said"
mkfifo "$said" || exit 1
nats-server --config "$configuration" >"$said" 2>&1 &
server=$!
trap 'kill -TERM "$server" 2>/dev/null' TERM INT
pass_on <"$said" &
passing=$!
code=0
while kill -0 "$server" 2>/dev/null; do # a signal ends `wait`, not the server
  wait "$server"
  code=$?
done
rm -f "$said"
wait "$passing"
exit "$code"
