"""What failures look like, what they mean and what helps: a table that anybody can add to.

A symptom is recognised by the class of an error, by its text, or by both. All that match are
looked at, and the one with the highest `rank` is taken; of equals the first in the table. Texts
are those that the software itself writes, long enough not to be met by chance.

To add some, give `rle.jobs.failures.add_symptom` one, or have a package declare an entry point in
the group "rle.symptoms" that leads to a Symptom or to several in a tuple. Nothing registers itself
by being imported.
"""

from __future__ import annotations

from rle.jobs.diagnosis import EXACT, VAGUE, Symptom
from rle.jobs.remedies import (
    free_gpu_memory,
    free_host_memory,
    open_path,
    survive_loss,
)

MEMORY = (
    Symptom(
        "gpu_memory",
        means="The GPU ran out of memory.",
        advice=free_gpu_memory,
        pattern=r"CUDA out of memory\. Tried to allocate|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
        rank=EXACT,
    ),
    Symptom(
        "node_memory",
        means="A node ran low on memory, and Ray stopped a process there before the kernel would.",
        advice=free_host_memory,
        pattern=r"killed due to the node running low on memory|ray_memory_usage_threshold"
        r"|RAY_memory_usage_threshold",
        rank=EXACT + 1,
    ),
    Symptom(
        "node_memory",
        means="A node ran low on memory, and Ray stopped a process there before the kernel would.",
        advice=free_host_memory,
        classes=("ray.exceptions.OutOfMemoryError",),
        rank=EXACT + 1,
    ),
    Symptom(
        "duckdb_memory",
        means="A DuckDB query needs more memory than it may use.",
        advice="Take an engine with more memory per node, or read fewer columns of the table.",
        pattern=r"Out of Memory Error: (?:failed to|could not) allocate",
        rank=EXACT,
    ),
    Symptom(
        "host_memory",
        means="The machine has not enough memory left for what was asked of it.",
        advice=free_host_memory,
        classes=("builtins.MemoryError",),
    ),
    Symptom(
        "host_memory",
        means="The machine has not enough memory left for what was asked of it.",
        advice=free_host_memory,
        pattern=r"Unable to allocate \S+ \w?i?B for an array with shape"
        r"|DefaultCPUAllocator: can't allocate memory|malloc of size \d+ failed"
        r"|\[Errno 12\] Cannot allocate memory|what\(\): +std::bad_alloc|std::bad_alloc'$"
        r"|exited with code -9\b|^MemoryError\b|Out of memory: Killed process",
    ),
    Symptom(
        "object_store",
        means="Ray's shared memory (its object store) is full.",
        advice="Give the engine more of it when it is made: settings={'object_store_mb': 2048}, "
        "and see that /dev/shm on its nodes has as much. Fewer num_workers need less at once.",
        pattern=r"The local object store is full of objects|OutOfMemory: object store"
        r"|unable to (?:mmap|open shared memory object)",
        rank=EXACT,
    ),
    Symptom(
        "object_store",
        means="Ray's shared memory (its object store) is full.",
        advice="Give the engine more of it when it is made: settings={'object_store_mb': 2048}.",
        classes=("ray.exceptions.ObjectStoreFullError",),
        rank=EXACT,
    ),
)

STORAGE = (
    Symptom(
        "disk_full",
        means="A disk is full, or a quota is used up.",
        advice="Free some space on the machine where it happened (`df -h` shows the full one), or "
        "set RLE_HOME, or RLE_ENGINE_FOLDER on a head, to a folder on a larger disk. `du -sh` in "
        "its snapshots/ and runs/ shows what takes the room; old ones can be deleted. Then submit "
        "again.",
        pattern=r"No space left on device|Disk quota exceeded|\[Errno (?:28|122)\]"
        r"|database or disk is full|local disk's utilization is over capacity",
        rank=EXACT,
    ),
    Symptom(
        "duckdb_lock",
        means="Another process has the DuckDB file open for writing.",
        advice=lambda case: (
            f"End process {case.found['pid']} or close its connection, or copy the "
            "file and use the copy."
        ),
        pattern=r"Could not set lock on file .*?Conflicting lock is held.*?\(PID (?P<pid>\d+)\)",
        rank=EXACT,
    ),
    Symptom(
        "path_permission",
        means="A file or a folder is closed to the user that the job runs as.",
        advice=open_path,
        pattern=r"(?m)\[Errno (?:13|1|30)\] [\w -]+: "
        r"""(?P<quote>['"])(?P<path>.+?)(?P=quote)(?:$| ->)""",
    ),
    Symptom(
        "path_permission",
        means="A file or a folder is closed to the user that the job runs as.",
        advice=open_path,
        pattern=r"""file (?P<quote>['"])(?P<path>.+?)(?P=quote): """
        r"(?:Permission denied|Read-only file system)",
    ),
    Symptom(
        "path_permission",
        means="A file or a folder is closed to the user that the job runs as.",
        advice=open_path,
        pattern=r"Error: (?P<path>/.+?) (?:or its folder )?is not (?:readable|writable) by",
        classes=("rle.errors.PermissionError",),
    ),
    Symptom(
        "open_files",
        means="The process may not open more files.",
        advice="Raise the limit before the engine is started: ulimit -n 65536. Fewer num_workers "
        "and sampler_workers need fewer.",
        pattern=r"\[Errno 24\] Too many open files|Too many open files \(os error 24\)",
        rank=EXACT,
    ),
)

CLUSTER = (
    Symptom(
        "lost_worker",
        means="A worker process died without a word: it was killed, most often by the kernel for "
        "want of memory, or it crashed.",
        advice=survive_loss,
        pattern=r"[Ww]orker unexpectedly exits with a connection error code"
        r"|The worker died unexpectedly while executing this task"
        r"|The actor is dead because its worker process has died",
    ),
    Symptom(
        "lost_worker",
        means="A worker process died without a word: it was killed, most often by the kernel for "
        "want of memory, or it crashed.",
        advice=survive_loss,
        classes=("ray.exceptions.WorkerCrashedError", "ray.exceptions.ActorDiedError"),
        rank=VAGUE,
    ),
    Symptom(
        "lost_node",
        means="A node of the cluster is gone: its machine was taken away, lost its network or "
        "stopped.",
        advice=survive_loss,
        pattern=r"node it was running on is dead or unavailable|because its node has died"
        r"|[Nn]ode with node id:? \w+.*? (?:is dead|has been marked dead)"
        r"|have been lost due to node failure",
        rank=EXACT,
    ),
    Symptom(
        "lost_node",
        means="A node of the cluster is gone: its machine was taken away, lost its network or "
        "stopped.",
        advice=survive_loss,
        classes=("ray.exceptions.NodeDiedError", "ray.exceptions.OwnerDiedError"),
        rank=EXACT,
    ),
    Symptom(
        "head_gone",
        means="The head of the cluster is gone or does not answer, and with it what it ran.",
        advice="Look at the engine: `rle engine status NAME`. A local engine starts its head "
        "again by itself and the queue goes on; this job has to be submitted again. If it "
        "happens again, the head may lack memory.",
        pattern=r"Failed to connect to GCS|because GCS server is dead|[Ll]ocal [Rr]aylet (?:is dead"
        r"|died)|GCS may have been killed|Could not find any running Ray instance"
        r"|Failed to connect to (?:the default )?Ray cluster",
        rank=EXACT,
    ),
    Symptom(
        "collective",
        means="The training workers lost touch with each other: one of them died, hung, or cannot "
        "be reached on the network.",
        advice="The log of the worker that ended first says why; JobMonitor lists them by node. "
        "If all of them live, tell torch which network to use on every node (GLOO_SOCKET_IFNAME "
        "or NCCL_SOCKET_IFNAME=eth0), and let no firewall stand between the nodes.",
        pattern=r"(?i)gloo[/\\]transport.*(?:closed by peer|timed out|connect|read error)"
        r"|Timed out waiting \d+ms for (?:recv|send) operation"
        r"|Watchdog caught collective operation timeout|NCCL error in:|ncclUnhandledCudaError"
        r"|ncclSystemError|ncclRemoteError|c10d::DistStoreError|Timed out after \d+ seconds "
        r"waiting for clients",
        rank=EXACT,
    ),
    Symptom(
        "no_room",
        means="The cluster has not the CPUs, GPUs or nodes that the job asks for.",
        advice=lambda case: (
            "Ask for less: "
            + case.knobs("num_workers", "cpus_per_worker", "gpus_per_worker")
            + ". Or make an engine with more nodes. `ray status` on the head shows what is taken."
        ),
        pattern=r"worker group startup timed out after|is not schedulable"
        r"|actor could not be scheduled|[Ii]nsufficient cluster resources"
        r"|No available node types can fulfill resource request",
        rank=EXACT,
    ),
    Symptom(
        "slow_start",
        means="Ray could not start the job's driver in time.",
        advice="The head is short of CPU or memory, or many jobs wait: a waiting job keeps about "
        "200 MB. Cancel what is not needed, or take an engine with more memory.",
        pattern=r"[Jj]ob supervisor actor failed to start within|failed to get job supervisor",
        rank=EXACT,
    ),
    Symptom(
        "runtime_env",
        means="Ray could not unpack or set up what travels with the job.",
        advice="Look for a full disk on the head (`df -h`), where Ray's temporary folder lies, "
        "and submit again: what travels with a job is sent anew.",
        pattern=r"runtime_env setup failed|Failed to set up runtime environment",
    ),
)

VERSIONS = (
    Symptom(
        "version",
        means="The nodes of the cluster do not run the same versions of Ray or Python.",
        advice="Install the same Ray and the same Python (major and minor) on every node: pip "
        "install 'ray==VERSION' with the version of the head.",
        pattern=r"Version mismatch: The cluster was started with",
        rank=EXACT,
    ),
    Symptom(
        "version",
        means="GNN-RLE on this node is not the one that the job was written for.",
        advice="Install the same gnn-rle on the laptop, the head and every node, or send your own "
        "code along with upload_code=True.",
        pattern=r"No module named '?rle\b|cannot import name '\w+' from 'rle\b",
        rank=EXACT,
    ),
    Symptom(
        "missing_package",
        means="A Python package is not installed where the job runs.",
        advice=lambda case: (
            f"On every node of the engine, in the Python that Ray runs in: pip "
            f"install {case.found['package']}."
        ),
        pattern=r"No module named '?(?P<package>[A-Za-z_]\w*)",
    ),
    Symptom(
        "gpu_driver",
        means="PyTorch on this node does not suit its GPU or the GPU's driver.",
        advice="Update the NVIDIA driver, or install a PyTorch built for the one that is there; "
        "`nvidia-smi` names the newest CUDA that it supports.",
        pattern=r"NVIDIA driver on your system is too old|CUDA driver version is insufficient"
        r"|no kernel image is available for execution|Found no NVIDIA driver on your system",
        rank=EXACT,
    ),
)
