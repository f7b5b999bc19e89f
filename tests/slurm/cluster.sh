# shellcheck shell=bash
# A Slurm cluster of two nodes, n1 and n2, on this host, in one folder; sourced by tests/slurm/run.
#
# Needs slurmctld, slurmd and munged, and nothing of /etc: key, socket, state, spool and logs lie in the folder, the
# ports are free ones. Every daemon and job has SLURM_CONF=FOLDER/... in its environment, those of a node
# FOLDER/NODE/..., by which cluster_stop finds it again, whatever has become of its parents.

cluster="" # the folder, once there is one

# cluster_configure FOLDER: write the configuration and set the environment for Slurm's commands.
cluster_configure() {
    cluster=$1
    local host user port ports=() node
    host=$(hostname -s) user=$(id -un)
    for port in $(shuf -i 20000-32000 -n 50); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || ports+=("$port")
        [ ${#ports[@]} -lt 3 ] || break
    done
    mkdir -p "$cluster"/{state,n1,n2,spool-n1,spool-n2,tmp-n1,tmp-n2}
    chmod 700 "$cluster"
    cat >"$cluster/slurm.conf" <<EOF
ClusterName=skyquilt
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdSpoolDir=$cluster/spool-%n
SlurmdPidFile=$cluster/slurmd-%n.pid
SlurmdLogFile=$cluster/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=5
KillWait=5
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=4 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=4 State=UNKNOWN
PartitionName=normal Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
EOF
    echo "CgroupMountpoint=/sys/fs/cgroup" >"$cluster/cgroup.conf"
    for node in n1 n2; do
        # One folder a node: the temporary folders of PMIx must not meet.
        cp "$cluster/slurm.conf" "$cluster/cgroup.conf" "$cluster/$node"
        echo "PMIxCliTmpDirBase=$cluster/tmp-$node" >"$cluster/$node/mpi.conf"
    done
    export SLURM_CONF=$cluster/slurm.conf
}

cluster_start_node() {
    SLURM_CONF=$cluster/$1/slurm.conf slurmd -N "$1" -f "$cluster/$1/slurm.conf"
}

cluster_start() {
    (umask 077 && head -c 1024 /dev/urandom >"$cluster/munge.key")
    munged --key-file="$cluster/munge.key" --socket="$cluster/munge.socket" \
        --pid-file="$cluster/munged.pid" --log-file="$cluster/munged.log" \
        --seed-file="$cluster/munged.seed" --force 2>"$cluster/munged.err" || return 1
    slurmctld -f "$cluster/slurm.conf" || return 1
    cluster_start_node n1 && cluster_start_node n2 && cluster_wait_nodes
}

# Until both nodes can take jobs.
cluster_wait_nodes() {
    for _ in $(seq 60); do
        [ "$(sinfo -h -N -p normal -t idle,mix,alloc -o %N 2>/dev/null | wc -l)" = 2 ] && return 0
        sleep 0.5
    done
    return 1
}

# Processes of this cluster: all, or those of a node (its slurmd, stepds and what they run).
cluster_processes() {
    (
        unset SLURM_CONF # of the search itself
        grep -lsz "^SLURM_CONF=$cluster/${1:+$1/}" /proc/[0-9]*/environ |
            sed 's|/proc/\([0-9]*\)/.*|\1|'
    )
}

# Power off: every process of a node at once.
cluster_kill_node() {
    # shellcheck disable=SC2046
    kill -KILL $(cluster_processes "$1") 2>/dev/null
}

cluster_stop() {
    local pids
    [ -n "$cluster" ] || return 0
    for _ in 1 2 3 4 5; do
        pids=$(cluster_processes)
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null
        sleep 0.2
    done
}
