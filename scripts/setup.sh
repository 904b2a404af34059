#!/usr/bin/env bash
# Usage: scripts/setup.sh [--check | --where] [TOOL...]
#
# Looks for what the demos of the lecture's tools need, and installs what is missing: on Debian and
# Ubuntu, as root or where sudo asks for no password. Elsewhere, or with SETUP=0 in the environment,
# it only prints the command; the demos concerned then say that they cannot run here.
#
#   TOOL     mpi     MPI compiler and launcher, and libclang with its headers (for the Rust binding)
#            openmp  a C compiler with OpenMP
#            python  python3
#            (default: these three; the others are for the book and its test)
#            gnuplot, chromium
#            venv    Python's venv and pip
#   --check  install nothing; exit code 77 if something is missing
#   --where  print the path of each tool's program, install nothing; exit code 77 if one is missing
#
# Exit code: 0 all is there, or said what is missing; 2 bad arguments; 77 see --check.
set -euo pipefail

check=no where=no tools=''
while (($#)); do
  case $1 in
    --check) check=yes ;;
    --where) where=yes ;;
    mpi | openmp | python | gnuplot | chromium | venv | debootstrap) tools+=" $1" ;;
    -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p;}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "setup.sh: unknown argument '$1' (--help shows how)" >&2; exit 2 ;;
  esac
  shift
done

# Is there a file of one of these names?
any() { local file; for file in "$@"; do if [[ -e $file ]]; then return; fi; done; return 1; }

# Where bindgen, which makes the Rust binding of MPI, finds libclang and the headers of the compiler.
has_libclang() {
  any "${LIBCLANG_PATH:-/nowhere}"/libclang* /usr/lib/llvm*/lib/libclang*.so* /usr/lib/*/libclang*.so* \
    /usr/lib64/libclang*.so* /usr/lib64/llvm*/lib/libclang*.so* /usr/local/llvm*/lib/libclang.so* \
    /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
    /Library/Developer/CommandLineTools/usr/lib/libclang.dylib || return 1
  [[ $(uname) != Linux ]] || any /usr/lib*/llvm*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h
}

# The path of a tool's program. Chromium has several names; Chrome will do.
where() {
  case $1 in
    mpi) command -v mpirun ;;
    openmp) command -v "${CC:-cc}" ;;
    python | venv) command -v python3 ;;
    gnuplot | debootstrap) command -v $1 ;;
    chromium)
      local name
      for name in chromium chromium-browser google-chrome-stable google-chrome \
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'; do
        if command -v "$name"; then return; fi
      done
      return 1 ;;
  esac
}

has() {
  case $1 in
    gnuplot | chromium | debootstrap) where "$1" ;;
    venv) python3 -c 'import ensurepip, venv' ;;
    mpi) command -v mpicc && command -v mpirun && has_libclang ;;
    openmp)
      local folder way code=1
      folder=$(mktemp -d)
      echo 'int main(void) { return 0; }' >"$folder/main.c"
      for way in -fopenmp '-Xclang -fopenmp /opt/homebrew/opt/libomp/lib/libomp.dylib' \
        '-Xclang -fopenmp /usr/local/opt/libomp/lib/libomp.dylib'; do # those of the demos' build.rs
        # shellcheck disable=SC2086 # options
        if ((code)) && ${CC:-cc} $way "$folder/main.c" -o "$folder/main"; then code=0; fi
      done
      rm -rf "$folder"
      return $code ;;
    python) python3 -c '' ;;
  esac >/dev/null 2>&1
}

# The packages that hold a tool, as this system's package manager calls them.
packages() {
  case $manager:$1 in
    # libclang1 is a name for one version, say libclang1-14; the headers have that version's name.
    apt-get:mpi)
      local version
      version=$(LC_ALL=C apt-cache depends libclang1 2>/dev/null | sed -n 's/.*Depends: libclang1-\([0-9]*\).*/\1/p')
      echo "libopenmpi-dev openmpi-bin libclang1${version:+ libclang-common-$version-dev}" ;;
    dnf:mpi) echo openmpi-devel clang-devel ;;
    brew:mpi) echo open-mpi llvm ;;
    pkg:mpi) echo openmpi llvm ;;
    apt-get:openmp | dnf:openmp) echo gcc ;;
    brew:openmp) echo libomp ;;
    pkg:openmp) echo gcc ;;
    *:python) echo python3 ;;
    apt-get:gnuplot) echo gnuplot-nox ;;
    apt-get:debootstrap) echo debootstrap debian-archive-keyring ;;
    *:gnuplot | *:debootstrap) echo "$1" ;;
    apt-get:chromium | dnf:chromium) echo chromium ;;
    brew:chromium) echo google-chrome ;;
    pkg:chromium) echo chromium ;;
    apt-get:venv) echo python3-venv ;;
    *:venv) echo python3 ;;
  esac
}

if [[ $where == yes ]]; then
  for tool in ${tools:-mpi openmp python}; do where "$tool" || exit 77; done
  exit
fi

missing=''
for tool in ${tools:-mpi openmp python}; do
  if ! has "$tool"; then missing+=" $tool"; fi
done
if [[ -z $missing ]]; then exit; fi

manager=''
for name in apt-get dnf brew pkg; do
  if command -v "$name" >/dev/null; then manager=$name; break; fi
done
sudo=''
if ((EUID)) && [[ $manager != brew ]]; then sudo='sudo '; fi
install="$sudo$manager install"
if [[ $manager == apt-get ]]; then install+=' --no-install-recommends'; fi
wanted() { for tool in $missing; do packages "$tool"; done | tr '\n' ' ' | sed 's/ $//'; }

if [[ $check == no && ${SETUP:-1} != 0 && $manager == apt-get ]] && ${sudo:+sudo -n} true 2>/dev/null; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  echo "setup: missing:$missing; looking up the packages"
  $sudo apt-get update >"$log" 2>&1 || true
  echo "setup: $install $(wanted)"
  # shellcheck disable=SC2046 # a list of names
  if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y \
    -o DPkg::Lock::Timeout=300 $(wanted) >>"$log" 2>&1; then tail -n 5 "$log" >&2; fi
  left=''
  for tool in $missing; do
    if has "$tool"; then echo "setup: $tool is there now"; else left+=" $tool"; fi
  done
  missing=$left
  if [[ -z $missing ]]; then exit; fi
fi

if [[ -n $manager ]]; then
  echo "missing:$missing; install it with: $install $(wanted)" >&2
else
  echo "missing:$missing; and no package manager known here (apt-get, dnf, brew, pkg)" >&2
fi
case $manager:$missing in # where these systems put MPI, nobody looks
  dnf:*mpi*) echo "then, in each shell: module load mpi/openmpi-x86_64" >&2 ;;
  pkg:*mpi*) echo "then, in each shell: PATH=/usr/local/mpi/openmpi/bin:\$PATH" >&2 ;;
esac
if [[ $check == yes ]]; then exit 77; fi
