# shellcheck shell=bash
# Sourced by a script, runs it again from its first line, as the first process of namespaces (processes,
# mounts): all that it mounts and starts below ends with it, however it ends. That takes root.
cannot() { echo "cannot run here: $1" >&2; exit 77; }

if [[ -z ${IN_NAMESPACES:-} ]]; then
  if ((EUID)); then cannot "it takes root; run it with sudo"; fi
  namespaces=(unshare --fork --kill-child --pid --mount --mount-proc)
  "${namespaces[@]}" --net --uts true || cannot "root may make no namespaces (in a container: --privileged)"
  # If this process is killed, that kills `unshare`, and so all processes in there.
  IN_NAMESPACES=yes setpriv --pdeathsig KILL "${namespaces[@]}" bash "$0" "$@" &
  wait "$!" && exit
  exit $(($? == 77 ? 77 : 1))
fi

# Runs a command as whoever called sudo: what it builds belongs to them.
as_caller() {
  if [[ -z ${SUDO_USER:-} ]]; then
    "$@"
  else
    # shellcheck disable=SC2016 # for the inner shell: the PATH of the login, then the caller's
    sudo -Hu "$SUDO_USER" bash -lc 'PATH=$PATH:$0 exec "$@"' "$PATH" "$@"
  fi
}
