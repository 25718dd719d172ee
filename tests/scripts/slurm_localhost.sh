#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: slurmctld, slurmd and munged with everything they
# need in one folder, beside any other SLURM.
#
#   tests/scripts/slurm_localhost.sh start DIR   DIR: a short path, absent or empty
#   tests/scripts/slurm_localhost.sh stop DIR
#
# Then SLURM_CONF=DIR/slurm.conf lets sbatch, squeue and the others find it. Exit status 77: SLURM or
# munge is not installed (apt-get install slurm-wlm).
set -euo pipefail

action="${1:-}"
folder="${2:-}"
if [ -z "$folder" ] || { [ "$action" != start ] && [ "$action" != stop ]; }; then
  echo "usage: slurm_localhost.sh start|stop DIR" >&2
  exit 2
fi
PATH="$PATH:/usr/sbin:/sbin"

stop_all() {
  local name
  # jobs first, whose processes would outlive the rest
  if [ -s "$folder/slurmctld.pid" ]; then
    export SLURM_CONF="$folder/slurm.conf"
    scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 50); do
      [ -n "$(squeue --noheader 2>/dev/null)" ] || break
      sleep 0.2
    done
  fi
  for name in slurmd slurmctld munged; do
    [ -s "$folder/$name.pid" ] || continue
    kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
}

if [ "$action" = stop ]; then
  stop_all
  exit 0
fi

for program in slurmctld slurmd sbatch squeue munged; do
  if ! command -v "$program" >/dev/null; then
    echo "slurm_localhost.sh: there is no $program; apt-get install slurm-wlm" >&2
    exit 77
  fi
done

mkdir -p "$folder/state" "$folder/spool"
chmod 700 "$folder"
folder="$(cd "$folder" && pwd)"
host="$(hostname -s)"
user="$(id -un)"
read -r controller_port node_port < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" 2>"$folder/munged.err"

cat >"$folder/slurm.conf" <<END
ClusterName=drop
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000,bf_interval=1
MailProg=/bin/true
KillWait=10
MinJobAge=10
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END

export SLURM_CONF="$folder/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 100); do
  if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then exit 0; fi
  sleep 0.2
done
echo "slurm_localhost.sh: no idle node after 20 s; see $folder/slurmctld.log and $folder/slurmd.log" >&2
stop_all
exit 1
