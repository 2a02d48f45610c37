"""The queue as its contract has it, in plain Python: what each function answers, and what stands in
Redis afterwards. It knows the time, since the clock of the Redis beside it stands still, and with it
every entry id, due time and time to live.

    model = Queue()
    model.now = 1700000000000
    assert model.enqueue(0, [Draft("a", "legal", "unique=u", b"body")]) == ["a"]

A job's fields are kept as they stand in its entry: a dictionary of str, latin-1 throughout.
"""
import collections
import copy
import dataclasses
import re

import msgpack

PRIORITIES = ("high", "normal", "low")
UNIQUE_TTL_MS = 30 * 24 * 60 * 60 * 1000
OPTIONS_MAX = 2048
CLAIMABLE_IDLE_MS = 24 * 60 * 60 * 1000  # what is left for the next who asks
REPLY_TTL_MS = 5 * 60 * 1000
LETTER_FIELDS = 32  # of a foreign entry that its dead letter keeps
LOST, MOVED, WANTED, RENEWED = 0, 1, 2, 3
SAME_DUE = 2  # members of one due time that are looked at for a holder
COUNTERS = ("enqueued", "deduplicated", "refused", "done", "retried", "buried", "expired",
            "reclaimed", "requeued", "discarded", "parked", "reset")


@dataclasses.dataclass
class Draft:
    """A job as a producer gives it."""
    id: str
    domain: str
    options: str
    body: str


@dataclasses.dataclass
class Pending:
    consumer: str
    deliveries: int
    since: int  # Unix ms of the last sign of life


@dataclasses.dataclass
class Timed:
    """A value that ends by itself."""
    value: str
    until: int
    question: str = ""  # of a query's unique key: what its job asks for
    place: object = None  # of a unique key: where its job stands
    content: object = None  # the last moment its twins are content with, 0 for any


@dataclasses.dataclass
class Place:
    stream: int  # priority
    entry: object = None
    due: int = 0  # in delayed
    sleeper: bool = False  # delayed by its producer
    deadline: int = 0


class Stream:
    def __init__(self):
        self.entries = {}  # (ms, serial) -> fields
        self.last = (0, 0)
        self.delivered = (0, 0)
        self.pending = {}  # (ms, serial) -> Pending

    def add(self, now, fields):
        self.last = (now, 0) if now > self.last[0] else (self.last[0], self.last[1] + 1)
        self.entries[self.last] = dict(fields)
        return self.last

    def remove(self, entry):
        """Acknowledged and deleted. True where it was pending."""
        self.entries.pop(entry, None)
        return self.pending.pop(entry, None) is not None


def read_options(text):
    return dict(pair.split("=", 1) for pair in text.split(" ") if "=" in pair[1:])


def edit_options(text, since, drop=()):
    if len(text) > OPTIONS_MAX:
        return text
    kept = [pair for pair in text.split(" ") if pair and pair.split("=", 1)[0] not in drop]
    if not any(pair.startswith("since=") for pair in kept):
        kept.append(f"since={since}")
    return " ".join(kept)


def priority_of(options):
    name = options.get("priority")
    return PRIORITIES.index(name) if name in PRIORITIES else 1


def unique_name(domain, unique):
    return f"{domain}:{unique}" if re.fullmatch(r"[0-9a-f]{32}\.\d+", unique) else unique


def question_of(unique, body):
    """What a query's unique key is bound to; nothing for other keys."""
    if not re.fullmatch(r"[0-9a-f]{32}\.\d+", unique):
        return ""
    try:
        fields = msgpack.unpackb(body.encode("latin-1"))
        return " ".join(fields["query"].split()) + f"\n{fields.get('k', 3)}"
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
        return body


def place_of(options, **where):
    return Place(priority_of(options), deadline=int(options.get("deadline_ms", 0)), **where)


def error_reply(domain, text, now):
    """What they are told who wait for a job that ended otherwise."""
    return msgpack.packb({"v": 1, "domain": domain, "query_hash": "", "created_ms": now, "epoch": 0,
                          "k": 3, "error": text, "few_shot": ""}).decode("latin-1")


def is_job(fields):
    return (re.fullmatch(r"[0-9a-zA-Z:._-]{1,64}", fields.get("id", "")) is not None
            and fields["id"] != "FULL"
            and re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fields.get("domain", ""))
            is not None
            and re.fullmatch(r"\d{1,9}", fields.get("attempt", "")) is not None
            and len(fields.get("options", "")) <= OPTIONS_MAX
            and re.search(r"[\x00-\x1f\x7f]", fields.get("options", "\0")) is None
            and "body" in fields)


class Queue:
    def __init__(self):
        self.now = 0
        self.streams = [Stream() for _ in PRIORITIES]
        self.delayed = {}  # member -> due, in the order of a sorted set once sorted
        self.dead = Stream()
        self.counters = collections.Counter()
        self.unique = {}  # name -> Timed holder
        self.wanted = {}  # job id -> Timed
        self.replies = {}  # job id -> Timed
        self.paused = False

    def expire(self):
        """What Redis forgets by itself."""
        for table in (self.unique, self.wanted, self.replies):
            for name in [name for name, timed in table.items() if timed.until <= self.now]:
                del table[name]

    # ---- small things ----

    def waiting(self):
        return sum(len(s.entries) - sum(e in s.entries for e in s.pending) for s in self.streams)

    def backlog(self):
        return len(self.delayed) + sum(len(stream.entries) for stream in self.streams)

    def add_job(self, stream, id_, domain, attempt, options, body):
        return self.streams[stream].add(self.now, {
            "id": id_, "domain": domain, "attempt": str(attempt), "options": options, "body": body})

    def delay_job(self, due, id_, domain, attempt, options, body, since):
        """A copy of a job that stands there already gets a serial behind its `since`; which one is
        Redis' affair, so the model counts."""
        head = f"{id_} {domain} {attempt} "
        text = edit_options(options, since)
        member, copies = f"{head}{text}\n{body}", 0
        while member in self.delayed:
            copies += 1
            member = f"{head}{edit_options(text, f'{since_of(text)}.{copies}', ('since',))}\n{body}"
        self.delayed[member] = due

    def release_unique(self, domain, unique, id_):
        """True where somebody who enqueued a twin waits for its reply."""
        if not unique:
            return False
        name = unique_name(domain, unique)
        if name in self.unique and self.unique[name].value == id_:
            del self.unique[name]
        return self.wanted.pop(id_, None) is not None

    def settle(self, fields, replies, reply, fault=None):
        wanted = self.release_unique(fields.get("domain", ""),
                                     read_options(fields.get("options", "")).get("unique"),
                                     fields.get("id", ""))
        if wanted and fault is not None and not replies:
            replies, reply = True, error_reply(fields.get("domain", ""), fault, self.now)
        if replies:
            self.replies[fields["id"]] = Timed(reply, self.now + REPLY_TTL_MS)
            return MOVED
        if wanted:  # owed, until the reply is handed in
            self.wanted[fields["id"]] = Timed("1", self.now + REPLY_TTL_MS)
        return WANTED if wanted else MOVED

    def note(self, domain, options, id_, place, delay=0):
        """Where the holder of a unique key stands from now on."""
        held = self.unique.get(unique_name(domain, options.get("unique", "")))
        if held is not None and held.value == id_:
            held.place, held.until = place, self.now + UNIQUE_TTL_MS + delay

    def is_gone(self, held):
        place = held.place
        if place.entry is not None:
            fields = self.streams[place.stream].entries.get(place.entry)
            return fields is None or fields.get("id") != held.value
        same = sorted((m for m in self.delayed if self.delayed[m] == place.due),
                      key=lambda m: m.encode("latin1"))[:SAME_DUE]
        return len(same) < SAME_DUE and not any(m.startswith(held.value + " ") for m in same)

    def is_late(self, place, options):
        mine = self.now + int(options.get("delay_ms", 0))
        return place.sleeper and place.due > mine or place.stream > priority_of(options)

    def ours(self, consumer, jobs):
        """Which of (stream, entry, deliveries) are the consumer's, each named once."""
        seen, answer = set(), []
        for stream, entry, deliveries in jobs:
            pending = self.streams[stream].pending.get(entry)
            answer.append(pending is not None and pending.consumer == consumer
                          and pending.deliveries == deliveries and (stream, entry) not in seen)
            if answer[-1]:
                seen.add((stream, entry))
        return answer

    # ---- producers ----

    def enqueue(self, room, drafts):
        """`room`: how many more jobs go in, as the limit and the count have it."""
        answers = []
        for draft in drafts:
            options = read_options(draft.options)
            holder = self.holder_of(draft, options, room)
            if holder is not None:
                self.counters["deduplicated"] += 1
                answers.append(holder)
            elif room <= 0:
                self.counters["refused"] += 1
                answers.append("FULL")
            else:
                room -= 1
                self.add_draft(draft, options)
                answers.append(draft.id)
        return answers

    def holder_of(self, draft, options, room):
        """Whose the unique key is; taken for the draft where it is free and there is room."""
        if "unique" not in options:
            return None
        name = unique_name(draft.domain, options["unique"])
        until = self.now + UNIQUE_TTL_MS + int(options.get("delay_ms", 0))
        held = self.twin(name, question_of(options["unique"], draft.body), draft.id, options)
        if held is None:
            if room > 0:
                self.unique[name] = Timed(draft.id, until,
                                          question_of(options["unique"], draft.body))
                delay = int(options.get("delay_ms", 0))
                if delay > 0:
                    self.unique[name].place = place_of(options, due=self.now + delay, sleeper=True)
            return None
        deadline, own = int(options.get("deadline_ms", 0)), held.place
        if own is not None and own.deadline and not 0 < deadline <= own.deadline:
            held.content = 0 if 0 in (deadline, held.content) else max(held.content or 0, deadline)
        if held.value != draft.id and "reply" in options:
            self.wanted[held.value] = Timed("1", until)
        return held.value

    def twin(self, name, question, id_, options):
        """Who holds a unique key and asks the same, is not gone, and comes no later."""
        held = self.unique.get(name)
        if held is None or held.question != question:
            return None
        if held.value != id_ and held.place is not None and (
                self.is_late(held.place, options) or self.is_gone(held)):
            return None
        return held

    def add_draft(self, draft, options):
        self.counters["enqueued"] += 1
        delay = int(options.get("delay_ms", 0))
        if delay > 0:
            self.delay_job(self.now + delay, draft.id, draft.domain, 0, draft.options, draft.body,
                           self.now)
        else:
            entry = self.add_job(priority_of(options), draft.id, draft.domain, 0, draft.options,
                                 draft.body)
            self.note(draft.domain, options, draft.id, place_of(options, entry=entry))

    # ---- the fleet ----

    def read(self, stream, consumer, count):
        stream = self.streams[stream]
        entries = [e for e in sorted(stream.entries) if e > stream.delivered][:count]
        for entry in entries:
            stream.pending[entry] = Pending(consumer, 1, self.now)
            stream.delivered = entry
        return entries

    def finish(self, consumer, rows):
        """rows: (stream, entry, deliveries, fields, expired, replies, reply)."""
        ours = self.ours(consumer, [row[:3] for row in rows])
        fates = [LOST] * len(rows)
        for stream in range(len(self.streams)):
            mine = [i for i, row in enumerate(rows) if ours[i] and row[0] == stream]
            for i in mine:
                if rows[i][4] and self.renew(stream, rows[i][1], rows[i][3]):
                    fates[i] = RENEWED
            for i in mine:
                _, entry, _, fields, expired, replies, reply = rows[i]
                if fates[i] != RENEWED:
                    fates[i] = self.settle(fields, replies, reply,
                                           "expired: its deadline passed" if expired else None)
                    self.counters["expired" if expired else "done"] += 1
                self.streams[stream].remove(entry)
        return fates

    def renew(self, stream, entry, fields):
        """An expired job whose twins have more time waits again, with the last of theirs."""
        unique = read_options(fields.get("options", "")).get("unique", "")
        held = self.unique.get(unique_name(fields.get("domain", ""), unique)) if unique else None
        job = self.streams[stream].entries.get(entry)
        if (held is None or held.value != fields.get("id") or held.content is None
                or 0 < held.content <= self.now or job is None or not is_job(job)):
            return False
        text = edit_options(job["options"], entry[0], ("deadline_ms",))
        if held.content:
            text += f" deadline_ms={held.content}"
        added = self.add_job(stream, job["id"], job["domain"], job["attempt"], text, job["body"])
        held.content, held.until = None, self.now + UNIQUE_TTL_MS
        held.place = place_of(read_options(text), entry=added)
        return True

    def done(self, consumer, stream, deliveries, entries):
        ours = self.ours(consumer, [(stream, entry, deliveries) for entry in entries])
        for entry, mine in zip(entries, ours):
            if mine:
                self.counters["done"] += self.streams[stream].remove(entry)
        return len(entries) if all(ours) else [MOVED if mine else LOST for mine in ours]

    def retry(self, consumer, rows):
        """rows: (stream, entry, deliveries, delay, parked)."""
        fates = []
        for ours, (stream, entry, _, delay, parked) in zip(
                self.ours(consumer, [row[:3] for row in rows]), rows):
            fields = self.streams[stream].entries.get(entry)
            if not ours or fields is None or not is_job(fields):
                fates.append(LOST)
                continue
            fates.append(MOVED)
            self.delay_job(self.now + delay, fields["id"], fields["domain"],
                           int(fields["attempt"]) + (0 if parked else 1), fields["options"],
                           fields["body"], entry[0])
            options = read_options(fields["options"])
            self.note(fields["domain"], options, fields["id"],
                      place_of(options, due=self.now + delay), delay)
            self.counters["parked" if parked else "retried"] += self.streams[stream].remove(entry)
        return fates

    def add_dead(self, fields, entry, reason, error, deliveries, worker):
        attempt = fields.get("attempt", "")
        attempt = int(attempt) if re.fullmatch(r"\d{1,15}", attempt) else 0
        letter = dict(list(fields.items())[:LETTER_FIELDS])
        letter.update({"reason": reason, "error": error, "worker": worker, "died": str(self.now),
                       "attempts": str(attempt + (reason != "crash_loop")),
                       "deliveries": str(deliveries)})
        if entry is not None and "since" not in read_options(fields.get("options", "")):
            letter["since"] = str(entry[0])
        self.counters["buried"] += 1
        self.dead.add(self.now, letter)

    def bury(self, consumer, worker, rows):
        """rows: (stream, entry, deliveries, reason, error, replies, reply)."""
        fates = []
        for ours, (stream, entry, deliveries, reason, error, replies, reply) in zip(
                self.ours(consumer, [row[:3] for row in rows]), rows):
            fields = self.streams[stream].entries.get(entry)
            if not ours or fields is None:
                fates.append(LOST)
                continue
            self.add_dead(fields, entry, reason, error, deliveries, worker)
            self.streams[stream].remove(entry)
            fates.append(self.settle(fields, replies and "id" in fields, reply, error))
        return fates

    def release(self, consumer, visibility_ms, again, jobs):
        released = 0
        for ours, (stream, entry, deliveries) in zip(self.ours(consumer, jobs), jobs):
            if not ours:
                continue
            queue, fields = self.streams[stream], self.streams[stream].entries.get(entry)
            if not again:
                if fields is None:  # XCLAIM drops what is gone
                    del queue.pending[entry]
                    continue
                queue.pending[entry] = Pending(consumer, max(deliveries - 1, 0),
                                               self.now - max(visibility_ms, CLAIMABLE_IDLE_MS))
                released += 1
            elif fields is not None and is_job(fields):
                options = read_options(fields["options"])
                added = self.add_job(stream, fields["id"], fields["domain"], fields["attempt"],
                                     edit_options(fields["options"], entry[0]), fields["body"])
                self.note(fields["domain"], options, fields["id"], place_of(options, entry=added))
                queue.remove(entry)
                released += 1
        return released

    def heartbeat(self, consumer, jobs):
        alive = 0
        for ours, (stream, entry, _) in zip(self.ours(consumer, jobs), jobs):
            if ours and entry not in self.streams[stream].entries:
                del self.streams[stream].pending[entry]
            elif ours:
                self.streams[stream].pending[entry].since = self.now
                alive += 1
        return alive

    def reclaim(self, stream, consumer, worker, visibility_ms, limit, count, suspects):
        """Answers (buried, [(entry, deliveries), ...])."""
        if self.paused:
            return 0, []
        stream = self.streams[stream]
        claimed = self.autoclaim(stream, consumer, visibility_ms, count)
        bury, take, leave = sort_idle(stream, claimed, limit, suspects)
        for entry in bury:
            fields = stream.entries[entry]
            deliveries = stream.pending[entry].deliveries
            self.add_dead(fields, entry, "crash_loop", None, deliveries, worker)
            stream.remove(entry)
            if "id" in fields:
                fault = f"handed out {deliveries} times without an end"
                asks = read_options(fields.get("options", "")).get("reply") == "1"
                self.settle(fields, asks, error_reply(fields.get("domain", ""), fault, self.now),
                            fault)
        for entry in take:
            stream.pending[entry] = Pending(consumer, stream.pending[entry].deliveries + 1, self.now)
        for entry in leave:
            stream.pending[entry].since = self.now - CLAIMABLE_IDLE_MS
        self.counters["reclaimed"] += len(take)
        return len(bury), [(entry, stream.pending[entry].deliveries) for entry in take]

    def autoclaim(self, stream, consumer, visibility_ms, count):
        """XAUTOCLAIM from the start: `count` entries, deleted ones too, of at most ten times as
        many that it looks at."""
        claimed, looks = [], 10 * count
        for entry in sorted(stream.pending):
            if count == 0 or looks == 0:
                break
            looks -= 1
            pending = stream.pending[entry]
            if entry not in stream.entries:
                del stream.pending[entry]
                count -= 1
            elif self.now - pending.since >= visibility_ms:
                stream.pending[entry] = Pending(consumer, pending.deliveries, self.now)
                claimed.append(entry)
                count -= 1
        return claimed

    # ---- the janitor and operators ----

    def promote(self, limit):
        """Answers (moved, ms until the next is due or -1, 1 where the queue is paused)."""
        if self.paused:
            return 0, -1, 1
        moved = 0
        for member in sorted(self.delayed, key=lambda m: (self.delayed[m], m.encode("latin1"))):
            due = self.delayed[member]
            if moved == limit or due > self.now:
                break
            del self.delayed[member]
            self.promote_member(member)
            moved += 1
        if not self.delayed:
            return moved, -1, 0
        return moved, max(min(self.delayed.values()) - self.now, 0), 0

    def promote_member(self, member):
        head, end, body = member.partition("\n")
        job = re.fullmatch(r"(\S+) (\S+) (\d+) ?(.*)", head) if end else None
        if job is None:
            self.add_dead({"body": member}, None, "malformed",
                          "delayed member without a job's head", 0, "")
            return
        text = re.sub(r"(?<![^ ])(since=\d+)\.\d+(?![^ ])", r"\1", job[4])
        options = read_options(text)
        entry = self.add_job(priority_of(options), job[1], job[2], job[3], text, body)
        self.note(job[2], options, job[1], place_of(options, entry=entry))

    def requeue(self, entries):
        moved = 0
        for entry in entries:
            letter = self.dead.entries.pop(entry, None)
            if letter is None:
                continue
            moved += 1
            text = letter.get("options", "")
            options, drop = read_options(text), {"deadline_ms", "delay_ms"}
            if options.get("unique") and "id" in letter:
                name = unique_name(letter.get("domain", ""), options["unique"])
                question = question_of(options["unique"], letter.get("body", ""))
                held = self.twin(name, question, letter["id"], {})
                if held is None:
                    self.unique[name] = Timed(letter["id"], self.now + UNIQUE_TTL_MS, question)
                elif held.value != letter["id"]:
                    drop.add("unique")
            since = letter.get("since", str(entry[0]))
            added = self.add_job(priority_of(options), letter.get("id", ""),
                                 letter.get("domain", ""), 0, edit_options(text, since, drop),
                                 letter.get("body", ""))
            place = Place(priority_of(options), entry=added)
            self.note(letter.get("domain", ""), options, letter.get("id", ""), place)
        self.counters["requeued"] += moved
        return moved

    def discard(self, entries):
        gone = sum(self.dead.entries.pop(entry, None) is not None for entry in entries)
        self.counters["discarded"] += gone
        return gone

    def trim(self, most, age_ms):
        old = [entry for entry in sorted(self.dead.entries)
               if age_ms > 0 and entry[0] < self.now - age_ms]
        over = sorted(self.dead.entries)[:max(len(self.dead.entries) - most, 0) if most else 0]
        return self.discard(max(old, over, key=len))


def since_of(options):
    return read_options(options)["since"].split(".")[0]


def sort_idle(stream, entries, limit, suspects):
    """Those to bury, to take, to leave: a suspect is taken alone."""
    bury, take, leave, alone = [], [], [], False
    threshold = max(min(2, limit - 1), 1)
    for entry in entries:
        deliveries = stream.pending[entry].deliveries
        suspect = deliveries >= threshold
        if deliveries >= limit:
            bury.append(entry)
        elif alone or (suspect and (take or not suspects)):
            leave.append(entry)
        else:
            take.append(entry)
            alone = suspect
    return bury, take, leave
