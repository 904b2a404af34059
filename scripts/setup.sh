#!/usr/bin/env bash
# Usage: scripts/setup.sh [--check | --where] [TOOL...]
#
# Looks for what the demos of the lecture's tools need, and installs what is missing: on Debian and
# Ubuntu, as root or where sudo asks for no password. Elsewhere, or with SETUP=0 in the environment,
# it only prints the command; the demos concerned then say that they cannot run here.
#
#   TOOL     mpi (compiler and launcher, and libclang with its headers, for the Rust binding), openmp (a C
#            compiler with it), python; and for the book, its test and the clusters: chromium,
#            venv (Python's, with pip), debootstrap (default: the first three)
#   --check  install nothing; exit code 77 if something is missing
#   --where  print the path of each tool's program, install nothing; exit code 77 if one is missing
#
# Exit code: 0 all is there, or said what is missing; 2 bad arguments; 77 see --check.
set -euo pipefail
mode=install tools=''
for word in "$@"; do
  case $word in
    --check | --where) mode=${word#--} ;;
    mpi | openmp | python | chromium | venv | debootstrap) tools+=" $word" ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "setup.sh: unknown argument '$word' (--help shows how)" >&2; exit 2 ;;
  esac
done
tools=${tools:-mpi openmp python}

# The path of a tool's program. Chromium has several names; Chrome will do.
where() {
  case $1 in
    mpi) command -v mpirun ;;
    openmp) command -v "${CC:-cc}" ;;
    python | venv) command -v python3 ;;
    chromium)
      command -v chromium || command -v chromium-browser || command -v google-chrome-stable ||
        command -v google-chrome || command -v '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ;;
    *) command -v "$1" ;;
  esac
}

# Does a C compiler, given with its options, find this header?
includes() { "${@:2}" -E -x c - <<<"#include <$1>"; }

# Is one of these a file? Of the others, and of patterns that match none, `ls` says that there is no such file.
any() { [[ -n $(ls -d "$@" 2>/dev/null) ]]; }

# bindgen, which makes the Rust binding of MPI, wants libclang (not libclang-cpp), and clang's own headers.
has_libclang() {
  any "${LIBCLANG_PATH:-/nowhere}"/libclang{.,-[0-9]}* /usr/{,local/}{lib*,llvm*/lib}{,/*,/*/*}/libclang{.,-[0-9]}* \
    {/opt/homebrew,/usr/local}/opt/llvm/lib/libclang.dylib /Library/Developer/CommandLineTools/usr/lib/libclang.dylib &&
    if [[ $(uname) == Linux ]]; then any /usr/lib*/{,llvm*/lib/}clang/*/include/stddef.h; fi
}

# shellcheck disable=SC2086 # CC may be several words
has() {
  case $1 in
    mpi) where mpi && includes mpi.h mpicc && has_libclang ;;
    openmp) includes omp.h ${CC:-cc} -fopenmp || any {/opt/homebrew,/usr/local}/opt/libomp/lib/libomp.dylib ;;
    python) python3 -c '' ;;
    venv) python3 -c 'import ensurepip, venv' ;;
    *) where "$1" ;;
  esac >/dev/null 2>&1
}

# The packages that hold a tool, as this system's package manager calls them.
packages() {
  case $manager:$1 in
    # libclang1 is a name for one version, say libclang1-14; the headers have that version's name.
    apt-get:mpi)
      version=$(LC_ALL=C apt-cache depends libclang1 2>/dev/null | sed -n 's/.*Depends: libclang1-\([0-9]*\).*/\1/p')
      echo "libopenmpi-dev openmpi-bin libclang1${version:+ libclang-common-$version-dev}" ;;
    dnf:mpi) echo openmpi-devel clang-devel ;;
    brew:mpi) echo open-mpi llvm ;;
    pkg:mpi) echo openmpi llvm ;;
    brew:openmp) echo libomp ;;
    *:openmp) echo gcc ;;
    brew:chromium) echo google-chrome ;;
    apt-get:venv) echo python3-venv ;;
    *:python | *:venv) echo python3 ;;
    apt-get:debootstrap) echo debootstrap debian-archive-keyring ;;
    *) echo "$1" ;;
  esac
}

absent() { for tool in $tools; do has "$tool" || printf ' %s' "$tool"; done; }

if [[ $mode == where ]]; then
  for tool in $tools; do where "$tool" || exit 77; done
  exit
fi
missing=$(absent)
if [[ -z $missing ]]; then exit; fi

manager=$(command -v apt-get || command -v dnf || command -v brew || command -v pkg || true)
manager=${manager##*/}
sudo=''
if ((EUID)) && [[ $manager != brew ]]; then sudo='sudo '; fi
install="$sudo$manager install"
if [[ $manager == apt-get ]]; then install+=' --no-install-recommends'; fi
wanted() { for tool in $missing; do packages "$tool"; done | tr '\n' ' ' | sed 's/ $//'; }

if [[ $mode == install && ${SETUP:-1} != 0 && $manager == apt-get ]] && ${sudo:+sudo -n} true 2>/dev/null; then
  echo "setup: missing:$missing; looking up the packages"
  log=$(mktemp)
  trap 'rm "$log"' EXIT
  $sudo apt-get update >/dev/null 2>&1 || true
  echo "setup: $install $(wanted)"
  # shellcheck disable=SC2046 # a list of names
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y \
    -o DPkg::Lock::Timeout=300 $(wanted) >"$log" 2>&1 || tail -n 5 "$log" >&2
  missing=$(absent)
  if [[ -z $missing ]]; then echo "setup: all is there now"; exit; fi
fi

how="install it with: $install $(wanted)"
# Where dnf and pkg put MPI, nobody looks.
case $manager:$missing in
  :*) how="and no package manager known here (apt-get, dnf, brew, pkg)" ;;
  dnf:*mpi*) how+="; then, in each shell: module load mpi/openmpi-x86_64" ;;
  pkg:*mpi*) how+="; then, in each shell: PATH=/usr/local/mpi/openmpi/bin:\$PATH" ;;
esac
echo "missing:$missing; $how" >&2
if [[ $mode == check ]]; then exit 77; fi
