#!/bin/sh
# usage: prepare.sh PINS PROGRAM ARGUMENTS...   (called by launch/qompass and launch/test)
# Runs a program in the checkout's own .venv, which is made first when it is not there or its pins have changed.
# QOMPASS_PYTHON names the Python to build on, QOMPASS_VENV another folder than .venv.
set -eu
trap 'exit 130' INT TERM HUP # until the program has its own way to end
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname -- "$here")
venv=${QOMPASS_VENV:-$root/.venv}
pins=$1
program=$2
shift 2

# An empty or relative entry is the folder where the user stands: modules that lie there are never searched.
absolute=''
set -f
IFS=:
for entry in ${PYTHONPATH:-}; do
    case $entry in /*) absolute=${absolute:+$absolute:}$entry ;; esac
done
unset IFS
set +f
export PYTHONPATH="$absolute"

between() { # between PYTHON LOW HIGH: whether it runs and its minor version is within
    "$1" -c "import sys; sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" 2>/dev/null
}

find_python() { # prints a Python >= 3.10, one of the versions the pins were tried on where there is one
    if [ -n "${QOMPASS_PYTHON:-}" ]; then
        if between "$QOMPASS_PYTHON" 10 99; then
            echo "$QOMPASS_PYTHON"
            return
        fi
        echo "qompass: QOMPASS_PYTHON=$QOMPASS_PYTHON is not a Python >= 3.10: unset it or name another one" >&2
        exit 2
    fi
    for highest in 13 99; do
        for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
            if between "$candidate" 10 "$highest"; then
                echo "$candidate"
                return
            fi
        done
    done
    echo "qompass: no Python >= 3.10 on PATH: install one (python.org, conda, pyenv, your system's packages)," \
        "or name it with QOMPASS_PYTHON=/path/to/python3" >&2
    exit 2
}

# prepare.py leaves a copy of what it installed by; an unfinished or outdated .venv has none that is the same.
if ! { cmp -s "$here/$pins" "$venv/.qompass/$pins" && cmp -s "$root/pyproject.toml" "$venv/.qompass/pyproject.toml" &&
    [ "$(cat "$venv/.qompass/root")" = "$root" ]; }; then
    python=$(find_python)
    "$python" "$here/prepare.py" "$venv" "$pins"
fi

PATH=$venv/bin:$PATH # mpirun and the console scripts live there
VIRTUAL_ENV=$venv
export PATH VIRTUAL_ENV
unset PYTHONHOME
exec "$program" "$@"
