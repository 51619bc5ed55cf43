"""Runs a dataflow of Bytewax each time that a line comes in, and says what it took as a line of JSON.

Arguments are suite=, case=, records=, and, where it applies, file=, checkpoints= and folder=.
"""

import json
import re
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

MASK = (1 << 64) - 1

# Records that a source gives at once: with fewer, Bytewax is slower.
BATCH = 10_000


class Records(FixedPartitionedSource):
    """Records that are in memory before the clock starts."""

    def __init__(self, records):
        self.records = records

    def list_parts(self):
        return ["all"]

    def build_part(self, step_id, for_part, resume_state):
        return RecordsPartition(self.records, resume_state or 0)


class RecordsPartition(StatefulSourcePartition):
    def __init__(self, records, done):
        self.records, self.done = records, done

    def next_batch(self):
        batch = self.records[self.done : self.done + BATCH]
        if not batch:
            raise StopIteration
        self.done += len(batch)
        return batch

    def snapshot(self):
        return self.done


class Digest(DynamicSink):
    """Sums rows, and discards them."""

    def __init__(self, hash_of):
        self.hash_of, self.rows, self.digest = hash_of, 0, 0

    def build(self, step_id, worker_index, worker_count):
        return DigestPartition(self)


class DigestPartition(StatelessSinkPartition):
    def __init__(self, digest):
        self.digest = digest

    def write_batch(self, items):
        digest = self.digest
        digest.rows += len(items)
        digest.digest = (digest.digest + sum(map(digest.hash_of, items))) & MASK


def mix(i):
    """The finisher of splitmix64."""
    z = (i + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def count(count, _value):
    count = (count or 0) + 1
    return count, count


def keyed_count(arguments):
    keys = int(arguments["case"])
    # Keys are strings in Bytewax: they are made before the clock starts.
    keys = [(str(mix(i) % keys), None) for i in range(int(arguments["records"]))]

    def build(flow):
        counts = op.stateful_map("count", op.input("keys", flow, Records(keys)), count)
        digest = Digest(lambda row: (int(row[0]) | 1 << 40) * row[1])
        op.output("digest", counts, digest)
        return digest

    return build


def word_count(arguments):
    lines = Path(arguments["file"]).read_text().splitlines()
    lines = [lines[i % len(lines)] for i in range(int(arguments["records"]))]

    def build(flow):
        lines_in = op.input("lines", flow, Records(lines))
        words = op.flat_map("split", lines_in, lambda line: [(word, None) for word in line.split(" ")])
        counts = op.stateful_map("count", words, count)
        digest = Digest(lambda row: int.from_bytes(row[0].encode(), "big") * row[1])
        op.output("digest", counts, digest)
        return digest

    return build


SUITES = {"keyed-count": keyed_count, "word-count": word_count}


def peak_memory():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def run(build, arguments):
    Path("/proc/self/clear_refs").write_text("5")
    flow, settings = Dataflow("peer"), {}
    with tempfile.TemporaryDirectory(dir=arguments.get("folder")) as folder:
        if "checkpoints" in arguments:
            init_db_dir(folder, 1)
            interval = float(arguments["checkpoints"].removesuffix("s"))
            settings["epoch_interval"] = timedelta(seconds=interval)
            settings["recovery_config"] = RecoveryConfig(folder)
        cpu, started = time.process_time(), time.perf_counter()
        digest = build(flow)
        run_main(flow, **settings)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_bytes": peak_memory(),
        "rows": digest.rows,
        "digest": f"{digest.digest:016x}",
    }


def main():
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    build = SUITES[arguments["suite"]](arguments)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(run(build, arguments)), flush=True)


main()
