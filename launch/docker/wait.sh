#!/bin/sh
# What a container does that was given no command: it waits, and COMPSs can log in to it from inside, which is how
# `pycompss init docker -i IMAGE` and runcompss start the worker of the same container. The server runs as the
# container's user and listens to the container alone; its keys are made here, so that no two containers share any.
set -eu
port=${QOMPASS_SSH_PORT:-22}
server=$(command -v sshd || echo /usr/sbin/sshd)
[ -x "$server" ] || exec sleep infinity
umask 077
mkdir -p "$HOME/.ssh"
cd "$HOME/.ssh"
[ -f id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f id_ed25519
[ -f host_key ] || ssh-keygen -q -t ed25519 -N '' -f host_key
cp id_ed25519.pub authorized_keys
printf '[localhost]:%s %s\n' "$port" "$(cat host_key.pub)" >known_hosts
[ "$port" != 22 ] || printf 'localhost %s\n' "$(cat host_key.pub)" >known_hosts
exec "$server" -D -e -f /dev/null -p "$port" -h "$PWD/host_key" -o ListenAddress=127.0.0.1 -o PidFile=none \
    -o UsePAM=no -o PasswordAuthentication=no -o "AuthorizedKeysFile=$PWD/authorized_keys"
