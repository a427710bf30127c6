#!/bin/sh
# .ci/install.sh jupyter|test: creates .venv and installs the package with that extra, once. Called by make.
#
# For a first install:
#   PYTHON=python3.12   the Python to make .venv with
#   TORCH=cpu           PyTorch's own CPU builds
#   NEWEST=1            the newest releases, without constraints.txt
#   OLDEST=1            the oldest releases that pyproject.toml allows
#
# What is wrong is said in one line; the rest is in .venv/install.log.
set -u
cd "$(dirname "$0")/.." || exit 1
extra=$1
PYTHON=${PYTHON:-python3}
py=.venv/bin/python
log=.venv/install.log

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Quick the second time: what an install depended on is kept beside it. Contents, not time stamps, which a clone or a
# checkout sets anew; the folder, since a .venv that was moved is broken; test holds all that jupyter does.
wanted="$PWD $(cksum pyproject.toml constraints.txt .ci/install.sh)"
works() { $py -c '' 2>/dev/null; }
holds() { $py -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)" 2>/dev/null; }
if works; then
    for stamp in .venv/installed-test ".venv/installed-$extra"; do
        [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
    done
fi

case "$(uname -s)" in MINGW* | MSYS* | CYGWIN*) die "on Windows take the conda route: conda env create -f environment.yml" ;; esac

# A Python that will do; a .venv that works goes on with its own.
works && PYTHON=$py
command -v "$PYTHON" >/dev/null 2>&1 || die "no $PYTHON here: install Python 3.10 or newer, or name one, as in make PYTHON=python3.12"
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || die "$PYTHON does not start: name another one, as in make PYTHON=python3.12"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$PYTHON is Python $version, and 3.10 or newer is needed: name one, as in make PYTHON=python3.12"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || die "$PYTHON has no venv: install it (Debian, Ubuntu: apt install python$version-venv)"

# How much is coming, and room for it: downloads are unpacked inside .venv, since /tmp may be small.
if ! holds torch; then
    case "${TORCH:-}-$(uname -s)" in
        cpu-*)   size="about 0.4 GB to download, 1.5 GB on disk" need=2 ;;
        *-Linux) size="about 3 GB to download, 6 GB on disk (PyTorch with CUDA; without a GPU, TORCH=cpu make lab takes a fraction)" need=10 ;;
        *)       size="about 0.5 GB to download, 1.5 GB on disk" need=3 ;;
    esac
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1000000) }')
    [ "$free" -ge "$need" ] || die "no room: $free GB are free here and the install takes up to $need GB on its way"
    # Between enough and plenty, pip keeps no second copy of what it downloads.
    [ "$free" -ge $((need + need / 2)) ] || export PIP_NO_CACHE_DIR=1
    say "Installing into .venv: $size."
fi

works || "$PYTHON" -m venv --clear .venv >/dev/null 2>&1 || die "$PYTHON -m venv could not create .venv: is this folder writable?"
mkdir -p .venv/tmp && : >"$log" || die "can't write into .venv"
export TMPDIR="$PWD/.venv/tmp"
trap 'rm -rf .venv/tmp' EXIT

# Progress is shown to a person; errors go to the log, which the one line names.
quiet="-q --progress-bar=off"
[ -t 1 ] && quiet=
pip() { $py -m pip --disable-pip-version-check --no-input --log "$log" "$@" 2>/dev/null; }
why() { sed -n -e 's/: for help visit .*//' -e 's/^.*ERROR: \(.*\)$/ (\1)/p' "$log" | tail -n 1; }
# Whether an index answers, asked by fetching a small package once; a folder of wheels will do if pip is set to that.
online() {
    pip download -q --no-deps --retries 0 --timeout 15 --log .venv/tmp/probe --dest .venv/tmp tqdm >/dev/null &&
        { grep -qs 'Fetched page http' .venv/tmp/probe || ! grep -qs 'Could not fetch URL' .venv/tmp/probe; }
}
failed() {
    grep -q 'No space left' "$log" && die "the disk is full: make room, then run the same command again"
    online || die "the network was lost: run the same command again and it goes on from there"
    die "$1$(why); the whole story is in $log"
}

if ! online; then
    [ -f ".venv/installed-$extra" ] || [ -f .venv/installed-test ] || die "no network: pip can't reach its package index, and this first install needs it"
    say "No network: pyproject.toml or constraints.txt has changed, but .venv stays as it is."
    exit 0
fi

pins="-c constraints.txt"
[ -z "${NEWEST:-}${OLDEST:-}" ] || pins=

if [ -n "${OLDEST:-}" ]; then
    pip install $quiet uv || failed "uv could not be installed"
    $py -m uv pip install --quiet --python $py --resolution=lowest-direct ${TORCH:+--torch-backend=$TORCH} -e ".[$extra]" >>"$log" 2>&1 ||
        die "the oldest releases can't be had (see $log)"
fi

# torch and torchvision must come from one index. uv knows PyTorch's own, so that no address stands here.
if [ "${TORCH:-}" = cpu ] && ! holds torch; then
    pip install $quiet uv || failed "uv could not be installed"
    $py -m uv pip install --quiet --python $py --torch-backend=cpu $pins torch torchvision >>"$log" 2>&1 ||
        die "PyTorch's CPU builds can't be had, since its own index does not answer here: run it without TORCH=cpu (see $log)"
elif [ "${TORCH:-}" = cpu ] && [ "$(uname -s)" = Linux ] && ! $py -c 'import torch, sys; sys.exit("cpu" not in torch.__version__)'; then
    say "TORCH=cpu has no effect: .venv already has PyTorch with CUDA (make clean removes it)."
fi

if ! pip install $quiet $pins -e ".[$extra]"; then
    grep -q 'No space left' "$log" && failed
    [ -n "$pins" ] && online || failed "pip could not install"
    say "The versions in constraints.txt do not fit this machine$(why): trying the newest."
    pip install $quiet -e ".[$extra]" || failed "pip could not install"
fi

# A kernel that was restarted and has run nothing yet can still say which cell to run first (see clrlib/page/setup.py).
mkdir -p .venv/etc/ipython && echo 'c.InteractiveShellApp.extensions = ["clrlib.page.setup"]' >.venv/etc/ipython/ipython_kernel_config.py
printf '%s' "$wanted" >".venv/installed-$extra"
