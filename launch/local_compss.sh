#!/usr/bin/env bash
# usage: launch/local_compss.sh [OPTIONS] PROGRAM.py [ARGUMENTS...]
# Runs a Python program under runcompss on this machine, e.g.  launch/local_compss.sh apps/expectation.py CIRCUIT ...
#   --resources PATH  resources.xml with project.xml beside it, or their folder (default: resources_xml/local)
#   --logs DIR        where COMPSs writes its logs (default: a temporary folder, kept when something fails)
#   --restarts N      how often a run whose application died is resumed from what it has on disk (default: 2)
#   --debug           COMPSs' own debug log
#   -g, -t, --summary, --scheduler=CLASS   as runcompss has them: graph, tracing, summary of the tasks, scheduler;
#                     where the graph and the traces are is said at the end
#   -p                provenance: COMPSs' own RO-Crate of the run, in the current folder, by the ro-crate-info.yaml there
#   -- --OPTION=VALUE ...   anything else for runcompss, before the program
# Standard output is the program's alone; COMPSs' goes to the log. The exit status is the program's.
# QOMPASS_PYTHON names a Python that has what Qompass needs; else .venv of this checkout (QOMPASS_VENV: another folder)
# is used, and set up when it is not there.
set -u

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
resources=$root/resources_xml/local
logs='' restarts=2 level=off keep='' tell='' summary='' tracing='' crate=''
extra=()

say() { echo "local_compss: $*" >&2; }
usage_error() { say "$1: see the first lines of launch/local_compss.sh"; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --resources | --logs | --restarts | --scheduler)
            [ $# -gt 1 ] || usage_error "$1 needs a value"
            case $1 in
                --resources) resources=$2 ;;
                --logs) logs=$2 ;;
                --restarts) restarts=$2 ;;
                --scheduler) extra+=("--scheduler=$2") ;;
            esac
            shift 2
            ;;
        --debug | -d) level=debug; shift ;;
        -g | --graph | --graph=true) keep=yes tell=yes; extra+=("$1"); shift ;;
        -t | --tracing | --tracing=true) keep=yes tell=yes tracing=yes; extra+=("$1"); shift ;;
        -p | --provenance | --provenance=true) keep=yes tell=yes crate=yes; extra+=("--provenance"); shift ;;
        --summary) summary=yes; extra+=("$1"); shift ;;
        --scheduler=*) extra+=("$1"); shift ;;
        --help | -h) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        --) shift; while [ $# -gt 0 ]; do case $1 in -*) extra+=("$1"); shift ;; *) break ;; esac; done; break ;;
        -*) usage_error "unknown option $1 (after -- it goes to runcompss)" ;;
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
    say "runcompss is not on the PATH: install COMPSs (launch/README.md), or run ./launch/qompass, which needs none"
    exit 2
fi
home=${COMPSS_HOME:-$(dirname -- "$(readlink -f -- "$(command -v runcompss)")")/../../..}
if [ -n "$tracing" ] && [ -d "$home/Dependencies" ] && [ ! -e "$home/Dependencies/extrae/lib/libpttrace.so" ]; then
    say "-t needs Extrae, and this COMPSs was built without it: build COMPSs with its tracing, or leave -t out"
    exit 2
fi
if [ -n "$crate" ] && [ ! -f ro-crate-info.yaml ]; then
    say "-p: COMPSs takes authors and licence from ro-crate-info.yaml in the current folder (its manual, Workflow Provenance): write one"
    exit 2
fi
has_packages() { "$1" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("qiskit_aer") is None)' 2>/dev/null; }
python=$(command -v "${QOMPASS_PYTHON:-${QOMPASS_VENV:-$root/.venv}/bin/python}")
if [ -z "$python" ] || ! has_packages "$python"; then
    # As for launch/qompass: the environment is made first where it is missing, and one line says why it cannot be.
    python=$(sh "$root/launch/prepare.sh" requirements.txt sh -c 'command -v python') || exit $?
fi
program=$(cd -- "$(dirname -- "$1")" && pwd -P)/$(basename -- "$1")
shift
resources=$(cd -- "$resources" && pwd -P)
nodes=$("$python" "$root/launch/resources_of.py" "$resources") || exit $?

if [ -n "$crate" ]; then # one crate, not two
    export QOMPASS_CRATE=off
    "$python" -c 'import rocrate, yaml' 2>/dev/null || { say "-p: COMPSs needs rocrate and pyyaml: $python -m pip install rocrate pyyaml"; exit 2; }
fi
began=$(date +%s)
run_id=$(cat /proc/sys/kernel/random/uuid) # in the command line of all that COMPSs starts, on every node
state=$(mktemp -d "${TMPDIR:-/tmp}/qompass-compss.XXXXXX") || exit 1
if [ -n "$logs" ]; then mkdir -p "$logs" && logs=$(cd -- "$logs" && pwd -P) || exit 1; else logs=$state/logs; fi
# mpirun lives beside the Python that has mpich.
PATH=$(dirname -- "$python"):$PATH
export PATH QOMPASS_STATE=$state QOMPASS_STDOUT=3 QOMPASS_RUN_NOTE=$state/run QOMPASS_RESOURCES=$resources
# COMPSs sets SLURM_* for MPI tasks even where there is no Slurm; here all ranks are on this machine.
export HYDRA_LAUNCHER=fork OMPI_MCA_plm=isolated PRTE_MCA_plm=ssh
if [ -n "$nodes" ]; then # a worker is started over ssh, where nothing of this environment arrives
    for name in PATH QOMPASS_STATE QOMPASS_RESOURCES QOMPASS_LEASES QOMPASS_QRMI_CONFIG XDG_CACHE_HOME XDG_RUNTIME_DIR \
        HYDRA_LAUNCHER OMPI_MCA_plm PRTE_MCA_plm; do
        [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
    done >"$state/environment.sh"
    extra=("--env_script=$state/environment.sh" ${extra[@]+"${extra[@]}"})
fi

group='' interrupted=''
end_group() { # everything that runcompss started: its session, whatever process groups it made, and the workers
    [ -n "$group" ] || return 0
    pkill -KILL -s "$group" 2>/dev/null
    kill -KILL -- "-$group" 2>/dev/null
    wait "$group" 2>/dev/null # else bash says "Killed"
    group=''
    local folders=() address folder
    while read -r address folder; do
        [ -z "$folder" ] || folders+=("${folder%/}/$run_id")
    done <<<"$nodes"
    "$python" "$root/launch/end_workers.py" "$run_id" "$began" ${folders[@]+"${folders[@]}"}
    while read -r address folder; do
        case ${address#*@} in '' | localhost | 127.0.0.1 | "$(hostname)") continue ;; esac
        ssh -n -o BatchMode=yes -o ConnectTimeout=5 "$address" \
            "$(printf '%q ' "$python" "$root/launch/end_workers.py" "$run_id" "$began" "${folder%/}/$run_id")" ||
            say "could not look for what is left on $address"
    done <<<"$nodes"
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
    case $1 in 0 | 2 | 130) ;; *) keep=yes ;; esac
    if [ -n "$summary" ]; then
        sed -nE '/Summary per Worker/,/Execution Finished/{s/^\[\([0-9]+\) *API\]  -  //;/Execution Finished/!p}' \
            "$logs/runcompss.log" >&2
    fi
    if [ -n "$tell" ]; then
        find "$logs/.COMPSs" \( -name complete_graph.dot -o -name '*.prv' \) -newer "$state/arguments" 2>/dev/null |
            sed 's/^/local_compss: wrote /' >&2
        [ -z "$crate" ] || find . -maxdepth 1 -name 'COMPSs_RO-Crate_*' -newer "$state/arguments" -exec echo "local_compss: wrote {}" \; >&2
        say "logs: $logs"
    fi
    case $keep,$logs in yes,"$state"/*) ;; *) rm -rf "$state" ;; esac
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
    setsid runcompss --lang=python --python_interpreter="$python" --pythonpath="$root" --uuid="$run_id" \
        --project="$resources/project.xml" --resources="$resources/resources.xml" \
        --log_dir="$logs" --master_working_dir="$state" --log_level="$level" --cpu_affinity=disabled \
        --task_count=1000 --jvm_master_opts="-Xrs" ${extra[@]+"${extra[@]}"} \
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

noise='Bad argument: |^(WARNING: |\[ ?(INFO|ERRMGR|ERROR)|\[\([0-9]+\)|	at |Piped mirrors|es\.bsc\.compss|Exception executing task|  *Possible causes|  *-|  *Check files| *$|Error )|^Shutting down|Error running application|^/.*compss_setup\.sh: line [0-9]+:'
killed=': line [0-9]+: +[0-9]+ (Killed|Terminated|Segmentation fault|Aborted|Bus error|Hangup)'

unknown_option() { # what runcompss says of an option that it does not know, in its own colours
    sed -nE 's/.*Bad argument: ([^[:cntrl:]]+).*/--\1/p' "$logs/runcompss.log" | head -1
}

reason() { # one line about why the application died, from its logs
    local job
    job=$(find "$logs"/.COMPSs/*/jobs -name '*.err' -newer "$state/arguments" -print0 2>/dev/null |
        xargs -0r grep -lE '^[A-Za-z_.]+(Error|Exception|Interrupt)' 2>/dev/null | head -1)
    if grep -qE "$killed" "$logs/runcompss.log"; then
        echo "its process was ended by a signal: $(sed -nE "s/.*$killed.*/\1/p" "$logs/runcompss.log" | tail -1)"
    elif [ -n "$job" ]; then
        echo "a task raised: $(grep -E '^[A-Za-z_.]+(Error|Exception|Interrupt)' "$job" | tail -1)"
    elif grep -q 'has died' "$logs/runcompss.log"; then
        echo "the process of a task died ($(grep -m1 'has died' "$logs/runcompss.log"))"
    elif grep -qE '^[A-Za-z_.]+(Error|Exception): ' "$logs/runcompss.log"; then
        grep -E '^[A-Za-z_.]+(Error|Exception): ' "$logs/runcompss.log" | tail -1
    elif grep -qE 'ERROR:|\[ *ERROR *\]' "$logs/runcompss.log"; then
        grep -E 'ERROR:|\[ *ERROR *\]' "$logs/runcompss.log" | head -1 | sed -E 's/^.*ERROR[] :]*//'
    else
        echo "runcompss said nothing"
    fi
}

as_json=''
case " $* " in *' --json '*) as_json=yes ;; esac
attempt=0
run_once "$program" "$@"
while [ ! -f "$state/status" ] && [ -z "$interrupted" ]; do
    unknown=$(unknown_option)
    if [ -n "$unknown" ]; then
        say "this runcompss does not know $unknown: see runcompss --help"
        keep='' tell=''
        finish 2
    fi
    tell=yes
    say "the application died: $(reason)"
    [ "$attempt" -lt "$restarts" ] || { say "giving up after $attempt restarts"; break; }
    [ -s "$state/run" ] || { say "it had not begun a run, so there is nothing to resume"; break; }
    attempt=$((attempt + 1))
    say "resuming $(cat "$state/run") (restart $attempt of $restarts)"
    run_once "$root/apps/cli/__main__.py" resume "$(cat "$state/run")" ${as_json:+--json}
done
[ -z "$interrupted" ] || finish "$interrupted"
if [ -f "$state/status" ]; then
    status=$(cat "$state/status")
    finish "$status"
fi
finish 1
