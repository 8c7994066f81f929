#!/usr/bin/env bash
# usage: launch/local_compss.sh [OPTIONS] PROGRAM.py [ARGUMENTS...]
# Runs a Python program under runcompss on this machine, e.g.  launch/local_compss.sh apps/expectation.py CIRCUIT ...
#   --resources PATH  resources.xml with project.xml beside it, or their folder (default: resources_xml/local)
#   --logs DIR        where COMPSs writes its logs (default: a temporary folder, kept when something fails)
#   --restarts N      how often a run whose application died is resumed from what it has on disk (default: 2)
#   --debug           COMPSs' own debug log
# Standard output is the program's alone; COMPSs' goes to the log. The exit status is the program's.
# QOMPASS_PYTHON names the Python to use (default: .venv of this checkout, else python3).
set -u

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
resources=$root/resources_xml/local
logs='' restarts=2 level=off

say() { echo "local_compss: $*" >&2; }
usage_error() { say "$1: see the first lines of launch/local_compss.sh"; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --resources | --logs | --restarts)
            [ $# -gt 1 ] || usage_error "$1 needs a value"
            case $1 in
                --resources) resources=$2 ;;
                --logs) logs=$2 ;;
                --restarts) restarts=$2 ;;
            esac
            shift 2
            ;;
        --debug) level=debug; shift ;;
        --help | -h) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        --*) usage_error "unknown option $1" ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || usage_error "no program given"
case $restarts in *[!0-9]* | '') usage_error "--restarts $restarts is not a number" ;; esac
[ -f "$1" ] || usage_error "there is no program $1"
[ ! -f "$resources" ] || resources=$(dirname -- "$resources")
[ -f "$resources/project.xml" ] && [ -f "$resources/resources.xml" ] ||
    usage_error "$resources has no project.xml and resources.xml"
if ! command -v runcompss >/dev/null; then
    say "runcompss is not on the PATH: install COMPSs (README, engines), or run ./launch/qompass, which needs none"
    exit 2
fi
python=${QOMPASS_PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v "${QOMPASS_PYTHON:-python3}") || usage_error "no Python found"
program=$(cd -- "$(dirname -- "$1")" && pwd -P)/$(basename -- "$1")
shift
resources=$(cd -- "$resources" && pwd -P)

state=$(mktemp -d "${TMPDIR:-/tmp}/qompass-compss.XXXXXX") || exit 1
if [ -n "$logs" ]; then mkdir -p "$logs" && logs=$(cd -- "$logs" && pwd -P) || exit 1; else logs=$state/logs; fi
# mpirun lives beside the Python that has mpich.
PATH=$(dirname -- "$python"):$PATH
export PATH QOMPASS_STATE=$state QOMPASS_STDOUT=3 QOMPASS_RUN_NOTE=$state/run QOMPASS_RESOURCES=$resources
# COMPSs sets SLURM_* for MPI tasks even where there is no Slurm; here all ranks are on this machine.
export HYDRA_LAUNCHER=fork OMPI_MCA_plm=isolated PRTE_MCA_plm=ssh

group='' interrupted=''
end_group() { # everything that runcompss started is in its session, whatever process groups it made
    [ -n "$group" ] || return 0
    pkill -KILL -s "$group" 2>/dev/null
    kill -KILL -- "-$group" 2>/dev/null
    wait "$group" 2>/dev/null # else bash says "Killed"
    group=''
}
pass_on() { # let the program mark its run interrupted, then end the rest
    interrupted=$1
    : >"$state/cancelled" # Qompass' work ends when this appears; until then the program waits inside COMPSs, deaf
    [ -f "$state/pid" ] && kill -INT "$(cat "$state/pid")" 2>/dev/null
    for _ in $(seq 150); do
        [ -f "$state/status" ] && break
        [ -f "$state/pid" ] || break
        sleep 0.1
    done
    end_group
}
finish() {
    end_group
    case $1 in 0 | 2 | 130) keep='' ;; *) keep=yes ;; esac
    if [ -z "$keep" ]; then rm -rf "$state"; fi
    exit "$1"
}
trap 'pass_on 130' INT
trap 'pass_on 143' TERM HUP
trap end_group EXIT

run_once() { # run_once PROGRAM ARGUMENTS...: 0 when the program ended by itself, its status then in $state/status
    rm -f "$state/status" "$state/pid" "$state/cancelled"
    mkdir -p "$logs"
    printf '%s\0' "$@" >"$state/arguments" # runcompss splits arguments at blanks
    : >"$state/errors"
    setsid runcompss --lang=python --python_interpreter="$python" --pythonpath="$root" \
        --project="$resources/project.xml" --resources="$resources/resources.xml" \
        --log_dir="$logs" --master_working_dir="$state" --log_level="$level" --cpu_affinity=disabled \
        --task_count=1000 --jvm_master_opts="-Xrs" \
        "$root/launch/compss_main.py" \
        3>&1 >"$logs/runcompss.log" 2>>"$state/errors" </dev/null &
    group=$!
    # The program's own standard error goes to the terminal as it comes; COMPSs' own lines go to the log.
    tail -f --pid="$group" -n +1 "$state/errors" 2>/dev/null | grep --line-buffered -vE "$noise" >&2 &
    local relay=$!
    while kill -0 "$group" 2>/dev/null; do
        if [ -f "$state/status" ] && [ -z "${since:-}" ]; then local since=$SECONDS; fi
        # The program is done; what it left running gets half a minute.
        if [ -n "${since:-}" ] && [ $((SECONDS - since)) -gt 30 ]; then break; fi
        sleep 0.1
    done
    end_group
    wait "$relay" 2>/dev/null
    cat "$state/errors" >>"$logs/runcompss.log"
    [ -f "$state/status" ]
}

noise='^(WARNING: |\[ ?(INFO|ERRMGR|ERROR)|\[\([0-9]+\)|	at |Piped mirrors|es\.bsc\.compss|Exception executing task|  *Possible causes|  *-|  *Check files| *$|Error )|^Shutting down|Error running application'

reason() { # one line about why the application died, from its logs
    local job
    job=$(ls -t "$logs"/.COMPSs/*/jobs/*.err 2>/dev/null | head -20 | xargs -r grep -lE '^[A-Za-z_.]+(Error|Exception|Interrupt)' 2>/dev/null | head -1)
    if [ -n "$job" ]; then
        echo "a task raised: $(grep -E '^[A-Za-z_.]+(Error|Exception|Interrupt)' "$job" | tail -1)"
    elif grep -q 'has died' "$logs/runcompss.log"; then
        echo "the process of a task died ($(grep -m1 'has died' "$logs/runcompss.log"))"
    elif grep -qE '^[A-Za-z_.]+(Error|Exception): ' "$logs/runcompss.log"; then
        grep -E '^[A-Za-z_.]+(Error|Exception): ' "$logs/runcompss.log" | tail -1
    elif grep -qE 'ERROR:|\[ *ERROR *\]' "$logs/runcompss.log"; then
        grep -E 'ERROR:|\[ *ERROR *\]' "$logs/runcompss.log" | head -1 | sed -E 's/^.*ERROR[] :]*//'
    else
        echo "runcompss ended without a word"
    fi
}

as_json=''
case " $* " in *' --json '*) as_json=yes ;; esac
attempt=0
run_once "$program" "$@"
while [ ! -f "$state/status" ] && [ -z "$interrupted" ]; do
    say "the application died: $(reason)"
    say "logs: $logs"
    [ "$attempt" -lt "$restarts" ] || { say "giving up after $attempt restarts"; break; }
    [ -s "$state/run" ] || { say "it had not begun a run, so there is nothing to resume"; break; }
    attempt=$((attempt + 1))
    say "resuming $(cat "$state/run") (restart $attempt of $restarts)"
    run_once "$root/apps/cli.py" resume "$(cat "$state/run")" ${as_json:+--json}
done
[ -z "$interrupted" ] || finish "$interrupted"
if [ -f "$state/status" ]; then
    status=$(cat "$state/status")
    finish "$status"
fi
finish 1
