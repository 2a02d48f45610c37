"""What is said: a line of progress while it runs, and at the end the report, in Markdown."""
import sys
import time

from servers import QUEUES

SAID_MAX = 8


class Progress:
    """One line that is written over on a terminal; elsewhere a line every 15 s."""

    def __init__(self):
        self.began = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.next_at = 0.0

    def show(self, phase, producer, sampler, faults):
        seconds = time.monotonic() - self.began
        if not self.terminal and seconds < self.next_at:
            return
        self.next_at = seconds + 15
        ended = sum(n["done"] + n["buried"] for n in sampler.now.values())
        line = (f"{seconds:4.0f} s  {phase}: {producer.accepted:,} of {producer.total:,} accepted, "
                f"{ended:,} ended, {sum(faults.counts.values())} faults, "
                f"{sampler.samples:,} samples, {len(sampler.unbalanced)} unbalanced")
        print(f"\r{line}\x1b[K" if self.terminal else line, end="" if self.terminal else "\n",
              flush=True)

    def end(self):
        if self.terminal:
            print("\r\x1b[K", end="", flush=True)


def checks(account, sampler, problems, drained):
    """(text, good) of each thing the exit code depends on."""
    lost = sum(account.lost_count(queue) for queue in QUEUES)
    return [
        ("everything drained", drained),
        (f"{lost} jobs lost", lost == 0),
        (f"{len(account.doubled)} effects doubled", not account.doubled),
        (f"{len(sampler.unbalanced)} of {sampler.samples:,} samples unbalanced",
         not sampler.unbalanced and sampler.samples > 0),
        (f"{len(sampler.went_back)} counters went back", not sampler.went_back),
        (f"{len(problems)} other problems", not problems),
    ]


def markdown(run, account, drain_s, total_s):
    options, sampler, producer, faults = run.options, run.sampler, run.producer, run.faults
    twice = sum(account.twice.values())
    taken = sum(n["reclaimed"] for n in account.stats.values())
    deduplicated = sum(n["deduplicated"] for n in account.stats.values())
    stall, where = sampler.stall
    rows = [
        ("jobs accepted", f"{sum(account.accepted.values()):,}"),
        ("faults", f"{sum(faults.counts.values()):,}"),
        ("**lost**", f"**{sum(account.lost_count(queue) for queue in QUEUES)}**"),
        ("effects doubled", f"{len(account.doubled)}"),
        ("run more than once", f"{taken + twice:,} ({taken:,} taken over from another worker, "
                               f"{twice:,} sent again after they were done)"),
        ("rows of the learning store", f"{account.rows:,} of {account.parts:,} parts, "
         f"{len(run.outbox.parts):,} through an outbox; {account.vectors:,} vectors"),
        ("samples of the books", f"{sampler.samples:,}, {len(sampler.unbalanced)} unbalanced"),
        ("longest stall with every server up", f"{stall:.1f} s" + (f" ({where})" if where else "")),
        ("longest answer of Redis with every server up", f"{sampler.longest_answer_s * 1000:.0f} ms"),
        ("longest call of the producer with every server up",
         f"{producer.longest_call_s * 1000:.0f} ms"),
        ("drained", f"{drain_s:.1f} s after the last fault" if drain_s is not None else "**no**"),
        ("enqueued again, outcome unknown", f"{sum(producer.unknown.values()):,} jobs, "
         f"{deduplicated:,} of them outstanding already"),
        ("enqueueing refused, out of memory", f"{producer.refused:,} calls"),
        ("duration", f"{total_s:.0f} s"),
        ("seed", f"{options.seed}"),
        ("setup", f"{options.workers} workers, appendfsync {options.appendfsync}"),
        ("the store's disk was filled by", run.lab.disk.what),
        ("thin traffic", f"{options.thin:g} minutes, a job every {options.thin_every:g} s, "
                         f"outages of {run.thin.length:.0f} s"),
        ("entries put there by hand, that are no jobs", f"{sum(run.lab.strangers.values())}"),
    ]
    lines = ["| | |", "| --- | --- |"] + [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "| queue | accepted | done | dead, as expected | retried | taken over | lost |",
              "| --- | --: | --: | --: | --: | --: | --: |"]
    for queue, n in account.stats.items():
        lines.append(f"| {queue} | {account.accepted[queue]:,} | {n['done']:,} | {n['dead']:,} | "
                     f"{n['retried']:,} | {n['reclaimed']:,} | {account.lost_count(queue):,} |")
    lines += ["", "| fault | times |", "| --- | --: |"]
    lines += [f"| {kind} | {count} |" for kind, count in faults.counts.items()]
    lines += [f"| thin traffic: {kind} | {count} |"
              for kind, count in run.thin.counts.items() if count > 0]
    return "\n".join(lines) + "\n"


def details(account, sampler, problems):
    """What went wrong, in lines; the first few of each kind."""
    said = []
    for queue in QUEUES:
        said += [f"lost: {queue} {name}" for name in sorted(account.lost[queue])[:SAID_MAX]]
    for title, texts in (("doubled", account.doubled), ("unbalanced", sampler.unbalanced),
                         ("went back", sampler.went_back), ("problem", problems)):
        said += [f"{title}: {text}" for text in texts[:SAID_MAX]]
    return said
