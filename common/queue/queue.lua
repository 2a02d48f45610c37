#!lua name=stillhouse
--[[ The rules of the queue, as Redis Functions (Redis 7.0 or newer, or Valkey).

A job is always in exactly one place, and each function below is one atomic move between them:

    enqueue -----> stream (waiting) --read--> pending entries list (running) --finish--> gone
       |             ^      ^   ^                |     |                |
       |    promote  |      |   +--- release ----+     +---- bury ---> dead --discard--> gone
       +---> delayed +      +------- requeue -----------------------------+
                ^------------------------ retry -------+

What holds a running job is Redis' pending entries list and nothing else. Whoever ends one names
its consumer and the delivery count it was given (the fence): a job that was taken over meanwhile
has another consumer or a higher count, is answered LOST (0) and is left alone.

Every counter moves in the same call as its job, so that at every moment
    enqueued + requeued = done + buried + expired + waiting + running + delayed
    buried = dead + requeued + discarded

Whoever may write to Redis may have put anything under our keys, and any command may be forbidden to
the user. So what is read is judged before it is believed, a key that must not stop a whole call is
asked for with `try`, and there is a rollback, which Redis has not: what is written goes into a
journal with the command that takes it back, and an error on the way plays that backwards. No text
from outside is walked in more than linear time.
Functions are only added or extended, never changed in meaning; VERSION grows with every change. ]]

local VERSION = 5

local GROUP = 'fleet'
local JOBS_MAX = 1000
local BODY_MAX = 16 * 1024 * 1024
local ENTRY_MAX = BODY_MAX + 64 * 1024  -- bytes of all values: more is nobody's job
local PUSH_BACKLOG = 100000
local LEASE_TURN_MS = 50
local LEASE_MAX_MS = 60 * 1000
local DELAY_MAX_MS = 30 * 24 * 60 * 60 * 1000
local UNIQUE_TTL_MS = 30 * 24 * 60 * 60 * 1000  -- longer than any job waits: a pause may last
local UNIQUE_TTL = '2592000000'  -- printing is dear
local REPLY_TTL_MS = 5 * 60 * 1000
local ERROR_MAX = 1000
local PUSH_FIELDS_MAX = 64
local OPTIONS_MAX = 2048
local ATTEMPT_MAX = 999999999
local RATE_DEBT = 10  -- windows
local REAP_MAX = 5000  -- consumers
local COUNTER_MAX = 2 ^ 53  -- what a double holds exactly
local LAST_ID = '18446744073709551615-18446744073709551615'
local PROMOTE_AGAIN_MS = 60 * 1000
local SINCE_MAX_MS = 366 * 24 * 60 * 60 * 1000
local FIELDS_MAX = 64  -- values of a foreign entry that a dead letter keeps; unpack() has a limit
local BACKLOG_BYTES = 1024 * 1024 * 1024  -- where no worker said another bound
local LOOK_BYTES = 64 * 1024 * 1024  -- what is added between two looks
local JOB_BYTES = 200  -- beside a job's body
local TRIM_SLICE = 100  -- letters
local ORPHANS_SLICE = 1000  -- running jobs between which a call looks
local CLAIM_MAX = 256  -- bytes under a unique key
local SAME_DUE_MAX = 2
local FENCE_SLACK = 16
local NODE_ENTRIES = 100  -- of a stream's node, by default
local SUSPECT_AFTER = 2  -- deliveries without an end
local KNOWN_MAX = 64
local RECOUNT_AFTER = 250  -- jobs
local NEAR_LIMIT = 1000
-- Redis serves nobody else while a call runs, and a body that passes through Lua costs it some 10 ms a
-- MiB: a call that moves bodies ends once it moved so many.
local CALL_BYTES = 1024 * 1024
local WAKE_TTL_MS = 60 * 1000
local CLAIMABLE_IDLE_MS = 24 * 60 * 60 * 1000  -- longer than any worker's visibility timeout
local LOST, MOVED, WANTED, RENEWED = 0, 1, 2, 3
local FLAG_EXPIRED, FLAG_REPLY = 1, 2

-- The functions by name.
local api = {}

-- While a library is loaded it may use nothing but redis.register_function; these are bound when a
-- function runs first.
local call, pcall_redis, find, match, sub, byte, format, floor, min, max

local function bind()
    call, pcall_redis = redis.call, redis.pcall
    find, match, sub, byte = string.find, string.match, string.sub, string.byte
    format, floor, min, max = string.format, math.floor, math.min, math.max
end

---- small things ----------------------------------------------------------------------------------

-- Foreign bytes as they may stand in an error reply.
local function excerpt(value, most)
    most = most or 48
    local text = string.gsub(sub(value, 1, most), '[^ -~]', '?')
    return #value > most and text .. '...' or text
end

local function invalid(field, value, expected)
    return redis.error_reply(
        format('SHINVALID %s "%s": expected %s', excerpt(field), excerpt(value), expected))
end

local function integer(text)
    return text and #text <= 15 and find(text, '^%d+$') and tonumber(text) or nil
end

local function now_us()
    local time = call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
    return floor(now_us() / 1000)
end

local function digits(number)
    return format('%.0f', number)
end

-- The keys of queues seen lately, so that their names are not put together for every job; a few, since
-- anybody may name any queue.
local known, known_count = {}, 0

local function streams_of(base)
    local streams = known[base]
    if not streams then
        if known_count == KNOWN_MAX then
            known, known_count = {}, 0
        end
        streams = {base .. ':jobs:high', base .. ':jobs', base .. ':jobs:low',
            counters = base .. ':counters', delayed = base .. ':delayed'}
        known[base] = streams
        known_count = known_count + 1
    end
    return streams
end

local NONE = {}

local STREAM_OF = {high = 1, normal = 2, low = 3}
local STREAM_DIGIT = {high = '1', normal = '2', low = '3'}
local STREAM_AT = {['0'] = 1, ['1'] = 2, ['2'] = 3}  -- as C counts them

---- what may fail ---------------------------------------------------------------------------------

-- A command's reply; nil and the error where it is refused: a key of another type, no right.
local function try(...)
    local reply = pcall_redis(...)
    if type(reply) == 'table' and reply.err then
        return nil, reply
    end
    return reply
end

-- The error of a command on `key`, which Redis does not name: 'WRONGTYPE key "sh:{echo}:dead": ...'.
local function refusal(key, problem)
    local word, text = match(problem.err, '^%-?(%u+) (.*)$')
    return redis.error_reply(
        format('%s key "%s": %s', word or 'ERR', excerpt(key, 200), text or problem.err))
end

-- A command on `key`; raises where it is refused.
local function must(command, key, ...)
    local reply = pcall_redis(command, key, ...)
    if type(reply) == 'table' and reply.err then
        error(refusal(key, reply))
    end
    return reply
end

-- What takes back the writes of this call, oldest first. Such a command may be forbidden too; then
-- nothing more can be done.
local journal = {}

local function undo_with(...)
    journal[#journal + 1] = {...}
end

-- Calls f; where it raises, takes back what it wrote. Returns what f does, or nil and the error.
local function attempt(f, ...)
    local before = #journal
    local ok, answer, more = pcall(f, ...)
    if ok then
        return answer, more
    end
    for i = #journal, before + 1, -1 do
        pcall_redis(unpack(journal[i]))
        journal[i] = nil
    end
    if type(answer) == 'table' then
        return nil, answer
    end
    -- Redis' pcall hands an error over as its text, which begins with its word; Lua's own has none.
    return nil, redis.error_reply(find(answer, '^%u+ ') and answer or 'ERR ' .. answer)
end

-- What was written so far stands, whatever comes: it is no half of anything.
local function commit()
    if #journal > 0 then
        journal = {}
    end
end

-- Calls f for each place j where ours[j] is, and gathers its answers, LOST for the others: each moves, or
-- is left as it was. The error is the call's where it kept all of them back.
local function each_of(ours, f, ...)
    local fates, moved, problem = {}, false, nil
    for j = 1, #ours do
        local fate, trouble
        if ours[j] then
            fate, trouble = attempt(f, j, ...)
            commit()
        end
        fates[j] = fate or LOST
        moved = moved or (fate and fate ~= LOST)
        problem = problem or trouble
    end
    if problem and not moved then
        error(problem)
    end
    return fates
end

-- A counter that cannot be added to: one that is no number, or is full, begins anew, and so does the
-- whole where another type stands in its place. Nothing is lost that was not lost already, and
-- `reset` says how often.
local function count_anew(key, counter, by, problem)
    local text = problem.err
    if find(text, 'WRONGTYPE', 1, true) then
        must('DEL', key)
    elseif not (find(text, 'not an integer', 1, true) or find(text, 'overflow', 1, true)) then
        error(refusal(key, problem))
    end
    must('HSET', key, counter, digits(max(by, 0)))
    try('HINCRBY', key, 'reset', '1')
    return max(by, 0)
end

-- Adds to a counter and returns its new value; by 0 does nothing. It comes before the writes that it
-- counts: it is the one that fails where it may not count, and is taken back without another right.
local function count(base, counter, by)
    if by == 0 then
        return 0
    end
    local key = streams_of(base).counters
    local reply = pcall_redis('HINCRBY', key, counter, by == 1 and '1' or by)  -- printing is dear
    return type(reply) == 'number' and reply or count_anew(key, counter, by, reply)
end

-- The same in the journal.
local function count_undoably(base, counter, by)
    if by > 0 then
        count(base, counter, by)
        undo_with('HINCRBY', streams_of(base).counters, counter, -by)
    end
end

local function is_paused(base)
    return must('EXISTS', base .. ':paused') == 1
end

local function is_nogroup(reply)
    return type(reply) == 'table' and reply.err and find(reply.err, '^%-?NOGROUP') ~= nil
end

---- a job's fields --------------------------------------------------------------------------------

local function is_id(id)
    return #id <= 64 and id ~= 'FULL' and find(id, '^[0-9a-zA-Z:._-]+$') ~= nil  -- %w would be slower
end

local function is_domain(domain)
    return #domain <= 63 and find(domain, '^[a-z0-9][a-z0-9._-]*$') ~= nil
        and find(domain, '[a-z0-9]$') ~= nil
end

-- What each option may be: the value that parse_options keeps, or nil; and how to say so.
local OPTIONS = {
    priority = {function(v) return STREAM_OF[v] and v end, 'high, normal or low'},
    delay_ms = {
        function(v) local n = integer(v) return n and n <= DELAY_MAX_MS and n or nil end,
        'a whole number of milliseconds, at most 30 days',
    },
    deadline_ms = {
        function(v) local n = integer(v) return n and n > 0 and n or nil end,
        'Unix milliseconds',
    },
    unique = {
        function(v) return #v <= 256 and find(v, '^%C+$') and not find(v, ' ', 1, true) and v or nil end,
        '1 to 256 bytes without spaces and control characters',
    },
    reply = {function(v) return v == '1' or nil end, '1'},
    traceparent = {
        function(v) return #v <= 128 and find(v, '^[!-~]+$') and v or nil end,
        '1 to 128 printable characters without spaces',
    },
    since = {integer, 'Unix milliseconds'},  -- of jobs that a producer kept in its outbox
}

local function check_option(key, value)
    local rule = OPTIONS[key]
    if not rule then
        return nil, invalid('option', key,
            'one of priority delay_ms deadline_ms unique reply traceparent since')
    end
    local parsed = rule[1](value)
    if not parsed then
        return nil, invalid(key, value, rule[2])
    end
    return parsed
end

-- Strict, for producers. Returns the options by name, or nil and the error reply.
local function parse_options(text)
    local options = {}
    local position = 1
    repeat
        local stop = find(text, ' ', position, true) or #text + 1
        local equals = find(text, '=', position, true)
        if not equals or equals == position or equals > stop then
            return nil, invalid('options', text, 'key=value pairs separated by one space')
        end
        local key, value = sub(text, position, equals - 1), sub(text, equals + 1, stop - 1)
        if options[key] ~= nil then
            return nil, invalid('option', key, 'it once')
        end
        local parsed, problem = check_option(key, value)
        if problem then
            return nil, problem
        end
        options[key] = parsed
        position = stop + 1
    until stop > #text
    return options
end

-- The pairs of an options text that already stands in Redis, and may be anything: f(key, value, pair)
-- for each; no value where there is no '='. More than OPTIONS_MAX bytes no job has.
local function each_option(text, f)
    text = sub(text or '', 1, OPTIONS_MAX)
    local position = 1
    while position <= #text do
        local stop = find(text, ' ', position, true) or #text + 1
        local pair = sub(text, position, stop - 1)
        local equals = find(pair, '=', 1, true)
        if pair ~= '' then
            f(equals and sub(pair, 1, equals - 1) or pair, equals and sub(pair, equals + 1), pair)
        end
        position = stop + 1
    end
end

-- Lenient: everything by name, as text.
local function read_options(text)
    local options = {}
    if text ~= '' then
        each_option(text, function(key, value) options[key] = value or options[key] end)
    end
    return options
end

-- The options without the keys in `drop`, and with `since` where there was none.
local function edit_options(text, since, drop)
    if #text > OPTIONS_MAX then
        return text  -- no job's
    end
    local kept = {}
    local has_since = false
    each_option(text, function(key, _, pair)
        if not (drop and drop[key]) then
            kept[#kept + 1] = pair
            has_since = has_since or key == 'since'
        end
    end)
    if not has_since then
        kept[#kept + 1] = 'since=' .. since
    end
    return table.concat(kept, ' ')
end

local function stream_for(base, options)
    return streams_of(base)[STREAM_OF[options.priority] or STREAM_OF.normal]
end

local function add_job(stream, id, domain, attempt, options, body)
    return must('XADD', stream, '*', 'id', id, 'domain', domain, 'attempt', attempt,
        'options', options, 'body', body)
end

-- Fields of a stream entry by name.
local function by_name(fields)
    local job = {}
    for i = 1, #fields - 1, 2 do
        job[fields[i]] = fields[i + 1]
    end
    return job
end

local function bytes_of(fields)
    local bytes = 0
    for i = 1, #fields do
        bytes = bytes + #fields[i]
    end
    return bytes
end

-- The job of entry `entry`, or nil where it is gone or not a job; the raw fields come second.
local function read_job(stream, entry)
    local found = must('XRANGE', stream, entry, entry)[1]
    if not found then
        return nil, nil
    end
    local job = by_name(found[2])
    if job.id and is_id(job.id) and job.domain and is_domain(job.domain)
        and (integer(job.attempt) or ATTEMPT_MAX + 1) <= ATTEMPT_MAX
        and job.options and #job.options <= OPTIONS_MAX and not find(job.options, '%c')
        and job.body then
        return job, found[2]
    end
    return nil, found[2]
end

-- Whether one entry id comes before another.
local function is_before(entry, other)
    local ms, serial = match(entry, '^(%d+)%-(%d+)$')
    local other_ms, other_serial = match(other, '^(%d+)%-(%d+)$')
    if #ms ~= #other_ms or ms ~= other_ms then
        return #ms < #other_ms or (#ms == #other_ms and ms < other_ms)
    end
    return #serial < #other_serial or (#serial == #other_serial and serial < other_serial)
end

-- When the job of `entry` came; an id by hand may lie ahead.
local function entry_ms(entry)
    return digits(min(tonumber(match(entry, '^%d+')), now_ms()))
end

---- delayed: "<id> <domain> <attempt> <options>\n<body>", scored by its due time ------------------

local copies = 0

-- The first due time of what this call delayed.
local first_due, first_due_base

-- Wakes the worker that looks after the queue's due jobs: it sleeps until the next one is due. One token
-- is enough; whatever else stands in the key, or a user who may not push, makes the job late at most.
local function wake(base)
    local key = base .. ':wake'
    local is_there = try('EXISTS', key) == 1
    local kind = is_there and try('TYPE', key)
    local is_foreign = kind and kind.ok ~= 'list'
    if is_foreign then
        try('DEL', key)
    end
    if is_foreign or not is_there then
        try('RPUSH', key, '1')
        try('PEXPIRE', key, WAKE_TTL_MS)
    end
end

-- After a call that delayed jobs, one of which may be due before all others.
local function wake_if_first()
    if first_due_base then
        local key, due = first_due_base .. ':delayed', digits(first_due)
        if try('ZCOUNT', key, '-inf', '(' .. due) == 0 then
            wake(first_due_base)
        end
        first_due, first_due_base = nil, nil
    end
end

-- Adds the whole job as one member. A set holds a member once: where the very same job stands there
-- already, `since` gets a serial behind a point while it is delayed ("since=1700000000000.17"), so that
-- none is swallowed. (A step of 1 ms instead cost n^2 / 2 tries for n copies, 10 s for 6,000.)
local function delay_job(base, due, id, domain, attempt, options, body, since)
    local key = base .. ':delayed'
    local score = digits(due)
    local head = id .. ' ' .. domain .. ' ' .. attempt .. ' '
    local text = edit_options(options, since)
    local member = head .. text .. '\n' .. body
    if must('ZADD', key, 'NX', score, member) == 0 then
        local first = match(read_options(text).since, '^%d+') or since
        local moment = digits(now_us())  -- serials begin anew when the library is loaded anew
        repeat
            copies = copies + 1
            text = edit_options(text, sub(first, 1, 15) .. '.' .. copies .. moment, {since = true})
            member = head .. text .. '\n' .. body
        until must('ZADD', key, 'NX', score, member) == 1
    end
    undo_with('ZREM', key, member)
    first_due, first_due_base = min(first_due or due, due), base
end

-- A delayed member's options as its job gets them back: without the serial. (Only of the option: a unique
-- key may hold "since=5.17" too.)
local function plain_since(options)
    return sub((string.gsub(' ' .. options .. ' ', '( since=%d+)%.%d+ ', '%1 ')), 2, -2)
end

---- unique keys and replies -----------------------------------------------------------------------

-- The one place that names a unique key. A query's key, <query_hash>.<k>, counts per domain; true comes
-- second.
local function unique_key(base, domain, unique)
    if #unique > 33 and find(unique, '^[0-9a-f]+%.%d+$') and sub(unique, 33, 33) == '.' then
        return base .. ':unique:' .. domain .. ':' .. unique, true
    end
    return base .. ':unique:' .. unique, false
end

-- What a job asks for: its query with white space as in the hash, and k; or else the whole body.
local function question_in(body)
    local ok, fields = pcall(cmsgpack.unpack, body)
    if not ok or type(fields) ~= 'table' or type(fields.query) ~= 'string' then
        return body
    end
    local query = fields.query
    if find(query, '  ', 1, true) or not find(query, '^%C*$') then
        query = string.gsub(query, '%s+', ' ')
    end
    if byte(query, 1) == 32 or byte(query, -1) == 32 then
        query = sub(query, find(query, '[^ ]') or 2, byte(query, -1) == 32 and -2 or -1)
    end
    return query .. '\n' .. (fields.k == 3 and '3' or tostring(fields.k or 3))  -- printing is dear
end

local function mark_of(body)
    return sub(redis.sha1hex(question_in(body)), 1, 16)
end

-- What stands under a unique key, words with a space between: the job's id; for a query's key a mark of
-- the question, since anybody can work out another's query hash, and a job with that key and another
-- body would stand for his; "@" and where the job stands, so that a holder that is gone is noticed and
-- one that comes too late for a twin is not waited for; "~" and the last moment that one of its twins
-- is content with, 0 for any, where that is later than its own deadline.
--     @2:1700000000000-0:0          in the stream of that priority, with its deadline
--     @d1700000000000:0:2           delayed by its producer until then, its deadline, its priority
--     @r1700000000000:0:2           the same, after a failure or for an upstream that is down
-- (A library before 5 wrote the id alone.)
local function claim_text(claim)
    local mark, place = claim.mark, claim.place
    local text = mark and place and claim.id .. ' ' .. mark .. ' @' .. place
        or mark and claim.id .. ' ' .. mark or place and claim.id .. ' @' .. place or claim.id
    return claim.content and text .. ' ~' .. digits(claim.content) or text
end

-- nil for what is none, such as junk.
local function read_claim(held)
    if type(held) ~= 'string' or #held > CLAIM_MAX then
        return nil
    end
    local id, mark, place, content = match(held, '^([^ ]+) ?([^@~ ]*) ?@?([^~ ]*) ?~?(%d*)$')
    return id and is_id(id) and {id = id, mark = mark ~= '' and mark or nil,
        place = place ~= '' and place or nil, content = integer(content)} or nil
end

local function deadline_in(options)
    local deadline = options.deadline_ms  -- a number from a producer's options, text from Redis
    return deadline and digits(type(deadline) == 'number' and deadline or integer(deadline) or 0) or '0'
end

local function place_in_stream(options, entry)
    return (STREAM_DIGIT[options.priority] or '2') .. ':' .. entry .. ':' .. deadline_in(options)
end

-- kind: d or r, see above.
local function place_delayed(options, due, kind)
    return kind .. digits(due) .. ':' .. deadline_in(options) .. ':'
        .. (STREAM_DIGIT[options.priority] or '2')
end

local function read_place(place)
    local stream, entry, deadline = match(place or '', '^([123]):([%d-]+):(%d+)$')
    if stream then
        return {stream = tonumber(stream), entry = entry, deadline = integer(deadline), due = 0}
    end
    local kind, due, limit, priority = match(place or '', '^([dr])(%d+):(%d+):([123])$')
    return kind and {stream = tonumber(priority), is_sleeper = kind == 'd', due = integer(due) or 0,
        deadline = integer(limit)} or nil
end

-- How many bytes of holders this call has looked at.
local looked_bytes = 0

-- Whether a holder is gone: an operator deleted it. Where we may not look it counts as there, and so it
-- does once CALL_BYTES went: a look brings the whole body.
local function is_gone(base, id, place)
    local streams = streams_of(base)
    if place.entry == '-' or looked_bytes >= CALL_BYTES then
        return false
    end
    if place.entry then
        local stream = streams[place.stream]
        local found = try('XLEN', stream) ~= 0 and try('XRANGE', stream, place.entry, place.entry)
        if found and found[1] then
            looked_bytes = looked_bytes + bytes_of(found[1][2])
            return by_name(found[1][2]).id ~= id
        end
        return found ~= nil
    end
    local due = digits(place.due)
    local same = try('ZRANGE', streams.delayed, due, due, 'BYSCORE', 'LIMIT', 0, SAME_DUE_MAX)
    for _, member in ipairs(same or {}) do
        looked_bytes = looked_bytes + #member
        if sub(member, 1, #id + 1) == id .. ' ' then
            return false
        end
    end
    return same ~= nil and #same < SAME_DUE_MAX
end

-- Whether a holder would come later than a job with these options: it sleeps for longer, or waits behind
-- others. Such a one goes on, but not for its twin.
local function is_late(place, options)
    return place.stream > (STREAM_OF[options.priority] or 2)
        or (place.is_sleeper and place.due > now_ms() + (options.delay_ms or 0))
end

-- The last moment that claim.content stands for, with one more twin that is content with `deadline`; nil
-- where the holder's own deadline is as late.
local function content_with(claim, place, deadline)
    deadline = deadline or 0
    if place.deadline == 0 or (deadline > 0 and deadline <= place.deadline) then
        return claim.content
    end
    if deadline == 0 or claim.content == 0 then
        return 0
    end
    return max(claim.content or 0, deadline)
end

-- Whether `holder`, the claim of who has a key, stands for the job of `claim` too, and holder.content with
-- its options then. Not where it asks something else, is gone or comes too late. `is_ours`: this very call
-- adds it, only later.
local function is_twin(base, holder, claim, options, is_ours)
    if holder.mark and claim.mark and holder.mark ~= claim.mark then
        return false
    end
    local place = read_place(holder.place)
    if not place then
        return true
    end
    if holder.id ~= claim.id
        and (is_late(place, options) or not is_ours and is_gone(base, holder.id, place)) then
        return false
    end
    holder.content = content_with(holder, place, options.deadline_ms)
    return true
end

-- What GET answered may be of another type: then it is nobody's.
local function is_held_by(held, id)
    return held == id
        or type(held) == 'string' and byte(held, #id + 1) == 32 and sub(held, 1, #id) == id
end

-- Notes where a job stands from now on, where it has a unique key. What is not noted costs only that a
-- twin waits for it as it is.
local function note_place(base, domain, unique, id, place, ttl)
    local key = unique and unique_key(base, domain, unique)
    local held = key and try('GET', key)
    if is_held_by(held, id) then
        local claim = read_claim(held) or {id = id}
        claim.place = place
        if try('SET', key, claim_text(claim), 'PX', digits(ttl or UNIQUE_TTL_MS)) then
            undo_with('SET', key, held, 'KEEPTTL')
        end
    end
end

-- Present while somebody who enqueued a twin waits for the reply of job `id`.
local function wanted_key(base, id)
    return base .. ':wanted:' .. id
end

-- Frees the unique key of a job that ended. True when a twin's asker waits for its reply.
local function release_unique(base, domain, unique, id)
    if not unique or unique == '' then
        return false
    end
    local key, wanted = unique_key(base, domain, unique), wanted_key(base, id)
    local held, problem = try('GET', key)
    local is_wanted
    if problem and not find(problem.err, 'WRONGTYPE', 1, true) then
        error(refusal(key, problem))  -- else the key would stay behind for a month
    end
    if is_held_by(held, id) then
        is_wanted = must('DEL', key, wanted) == 2
        undo_with('SET', key, held, 'PX', UNIQUE_TTL_MS)
    else
        is_wanted = must('DEL', wanted) == 1
    end
    if is_wanted then
        undo_with('SET', wanted, '1', 'PX', UNIQUE_TTL_MS)
    end
    return is_wanted
end

local function push_reply(base, id, reply)
    local key = base .. ':reply:' .. id
    must('DEL', key)
    undo_with('DEL', key)
    must('RPUSH', key, reply)
    must('PEXPIRE', key, REPLY_TTL_MS)
end

-- An ended job's reply where it has no result, as bodies_encode_result in C writes it.
local function error_reply(domain, text)
    return '\136' .. cmsgpack.pack('v') .. cmsgpack.pack(1)
        .. cmsgpack.pack('domain') .. cmsgpack.pack(is_domain(domain) and domain or '')
        .. cmsgpack.pack('query_hash') .. cmsgpack.pack('')
        .. cmsgpack.pack('created_ms') .. cmsgpack.pack(now_ms())
        .. cmsgpack.pack('epoch') .. cmsgpack.pack(0) .. cmsgpack.pack('k') .. cmsgpack.pack(3)
        .. cmsgpack.pack('error') .. cmsgpack.pack((string.gsub(sub(text, 1, ERROR_MAX), '[\128-\255]', '?')))
        .. cmsgpack.pack('few_shot') .. cmsgpack.pack('')
end

-- The end of a job for those who wait for it: its fate. `reply` goes to who asked with the job itself;
-- where there is a `fault`, everybody else is told that. Without one the result may be handed in later
-- (WANTED, sh_reply), also when this answer is lost on its way: what says that it is owed stays as long
-- as a reply would.
local function settle(base, job, reply, fault)
    local wanted = release_unique(base, job.domain, job.unique, job.id)
    if reply then
        push_reply(base, job.id, reply)
    elseif wanted and fault then
        push_reply(base, job.id, error_reply(job.domain, fault))
    elseif wanted then
        must('SET', wanted_key(base, job.id), '1', 'PX', REPLY_TTL_MS)
        return WANTED
    end
    return MOVED
end

-- The end of a job that nobody will run any more: everybody who waits for it is told `fault`.
local function settle_fault(base, job, fault)
    if job.id then
        local options, domain = read_options(job.options), job.domain or ''
        settle(base, {id = job.id, domain = domain, unique = options.unique},
            options.reply == '1' and is_id(job.id) and error_reply(domain, fault), fault)
    end
end

---- producers -------------------------------------------------------------------------------------

local function backlog_of(streams)
    return must('ZCARD', streams.delayed) + must('XLEN', streams[1]) + must('XLEN', streams[2])
        + must('XLEN', streams[3])
end

-- Room for how many of `total` more jobs. To count those that are there takes four calls, a third of
-- what a single job costs. So far from the limit the last count, and all that came since, will do for
-- RECOUNT_AFTER jobs; near it everything is counted each time. (A server that was a replica for a while
-- remembers too little: it may let in RECOUNT_AFTER jobs too many, once.)
local function room_for(streams, backlog_max, total)
    if backlog_max == 0 then
        streams.bound = nil
        return math.huge
    end
    local bound = streams.bound
    if not bound or streams.uncounted + total > RECOUNT_AFTER
        or bound + total + NEAR_LIMIT > backlog_max then
        bound = backlog_of(streams)
        streams.uncounted = 0
        streams.enqueued = nil
    end
    streams.uncounted = streams.uncounted + total
    streams.bound = bound + total
    return backlog_max - bound
end

-- Forgets what is known of the backlog.
local function forget_backlog(streams)
    streams.bound, streams.bytes_left, streams.full_at = nil, nil, nil
end

-- How many more bytes the queue takes, from a look at all of it: some 100 ns for each node of a stream.
-- Who may not look (MEMORY USAGE) is not bounded in bytes.
local function look_at_bytes(base, streams)
    local limit = integer(try('GET', base .. ':limits') or '') or BACKLOG_BYTES
    if limit == 0 then
        return math.huge
    end
    for _, key in ipairs({streams[1], streams[2], streams[3], streams.delayed}) do
        limit = limit - (try('MEMORY', 'USAGE', key, 'SAMPLES', '0') or 0)
    end
    return limit
end

-- Room for how many more bytes, where `bytes` are about to be added. What a look found, less all that
-- came since, will do for LOOK_BYTES. Once something had no room the queue is looked at again when a part
-- of its jobs is gone: of full_at, those that were there then and all that came since.
local function bytes_room(base, streams, bytes)
    local left = streams.bytes_left
    if left and bytes <= left then
        return left
    end
    if streams.full_at and backlog_of(streams) > streams.full_at * 63 / 64 then
        return left
    end
    left = look_at_bytes(base, streams)
    local is_full = bytes > left
    streams.bytes_left = is_full and left or min(left, LOOK_BYTES)
    streams.full_at = is_full and backlog_of(streams) or nil
    return left
end

-- What the jobs of a call weigh; four values each from args[first] on.
local function bytes_in(args, first)
    local bytes = 0
    for at = first + 3, #args, 4 do
        bytes = bytes + #args[at] + JOB_BYTES
    end
    return bytes
end

local function take_bytes(streams, bytes, jobs)
    streams.bytes_left = streams.bytes_left and streams.bytes_left - bytes
    streams.full_at = streams.full_at and streams.full_at + jobs
end

-- Counts jobs that are about to be added. False where the counter is not where the last call left it:
-- this is another database, which has the functions in common, so what is known of the backlog is not
-- of this queue. Then nothing is counted.
local function count_enqueued(base, streams, total)
    local enqueued = count(base, 'enqueued', total)
    local expected = streams.enqueued and streams.enqueued + total
    streams.enqueued = enqueued
    if streams.bound and expected and enqueued ~= expected then
        forget_backlog(streams)
        streams.enqueued = count(base, 'enqueued', -total)
        return false
    end
    return true
end

local function check_base(base)
    if known[base] and known[base].checked then
        return nil
    end
    if not find(base, '^[^{}]+:{[^{}]+}$') then
        return invalid('key', base, 'a queue\'s base such as sh:{enrich}')
    end
    streams_of(base).checked = true
end

-- Checked last: a producer's calls are mostly alike.
local good_domain, good_text, good_options, good_limit, good_limit_number

local function check_job(id, domain, body)
    if not is_id(id) then
        return invalid('id', id, '1 to 64 of A-Za-z0-9._:- (and not FULL)')
    end
    if domain ~= good_domain then
        if not is_domain(domain) then
            return invalid('domain', domain,
                '1 to 63 of a-z0-9._- with a letter or digit at both ends')
        end
        good_domain = domain
    end
    if #body > BODY_MAX then
        return invalid('body', #body .. ' bytes', 'at most ' .. BODY_MAX .. ' bytes')
    end
end

-- The claim of a new job: what it puts under its unique key, once it stands somewhere.
local function new_claim(base, id, domain, options, body)
    local key, is_query = unique_key(base, domain, options.unique)
    return {key = key, id = id, mark = is_query and mark_of(body) or nil, options = options}
end

local function first_place(options)
    local delay_ms = options.delay_ms or 0
    return delay_ms > 0 and place_delayed(options, now_ms() + delay_ms, 'd')
        or place_in_stream(options, '-')
end

-- Whose twin the job of `claim` is: the id. Of `fellow`, the claim of a job before it in this call, or of
-- who holds the key; nil where the key is free, or no twin's.
local function find_twin(base, claim, options, fellow)
    if fellow then
        fellow.place = fellow.place or first_place(fellow.options)
        return is_twin(base, fellow, claim, options, true) and fellow.id or nil
    end
    local key = claim.key
    local held = try('GET', key)
    local holder = held and read_claim(held)
    if not holder or not is_twin(base, holder, claim, options)
        or (not holder.place and try('PTTL', key) == -1) then  -- no library wrote that: no job will ever free it
        return nil
    end
    local text = claim_text(holder)
    if text ~= held then
        must('SET', key, text, 'KEEPTTL')
        undo_with('SET', key, held, 'KEEPTTL')
    end
    return holder.id
end

-- Raises where a key may not be written: it is, once its job was added.
local function must_be_writable(key)
    if not redis.acl_check_cmd('SET', key, '') then
        must('SET', key, '', 'XX', 'KEEPTTL')
    end
end

local function put_claim(claim, place)
    local delay_ms = claim.options.delay_ms
    claim.place = place
    return try('SET', claim.key, claim_text(claim), 'PX',
        delay_ms and digits(UNIQUE_TTL_MS + delay_ms) or UNIQUE_TTL)
end

-- Returns where it stands.
local function add_delayed(base, id, domain, text, options, body)
    local now = now_ms()
    local due = now + options.delay_ms
    delay_job(base, due, id, domain, '0', text, body, digits(now))
    return place_delayed(options, due, 'd')
end

-- Returns where it stands, or nil and the error.
local function add_new(base, id, domain, text, options, body)
    if options.delay_ms and options.delay_ms > 0 then
        return attempt(add_delayed, base, id, domain, text, options, body)
    end
    local stream = stream_for(base, options)
    local entry = pcall_redis('XADD', stream, '*', 'id', id, 'domain', domain, 'attempt', '0',
        'options', text, 'body', body)
    if type(entry) == 'table' then
        return nil, refusal(stream, entry)
    end
    return place_in_stream(options, entry)
end

-- Jobs new[from] and on, which were counted, are not taken after all: another one before them was, and
-- the stream takes no more (its ids are used up). As for lack of room they are answered FULL, and so are
-- their twins of this call. They leave `new`. Returns how many twins there were.
local function refuse_from(base, answers, new, from, claims)
    local total, twins, gone = #new - from + 1, 0, {}
    streams_of(base).enqueued = count(base, 'enqueued', -total)
    for n = #new, from, -1 do
        local i = new[n]
        gone[claims[i] or NONE] = true
        answers[i], new[n] = 'FULL', nil
    end
    for i, claim in pairs(claims) do
        if claim.fellow and gone[claim.fellow] then
            answers[i] = 'FULL'
            twins = twins + 1
        end
    end
    count(base, 'refused', total + twins)
    return twins
end

-- The usual case, and half of an enqueue's cost is Lua: jobs without options, room for all.
local function enqueue_plain(base, args, first, total)
    local stream, answers = streams_of(base)[2], {}
    for i = 1, total do
        local at = first + 4 * (i - 1)
        local entry = pcall_redis('XADD', stream, '*', 'id', args[at], 'domain', args[at + 1],
            'attempt', '0', 'options', '', 'body', args[at + 3])
        answers[i] = args[at]
        if type(entry) == 'table' then
            local rest = {}
            for j = i, total do
                rest[#rest + 1] = j
            end
            refuse_from(base, answers, rest, 1, NONE)
            if i == 1 then
                count(base, 'refused', -total)
                error(refusal(stream, entry))
            end
            break
        end
    end
    return answers
end

-- Of several keys one may be of another type. Only what is written first can fail without a trace.
local function check_targets(base, new, parsed)
    local streams = streams_of(base)
    local seen, total = {}, 0
    for _, i in ipairs(new) do
        local options = parsed[i] or NONE
        local is_delayed = (options.delay_ms or 0) > 0
        local key = is_delayed and streams.delayed or stream_for(base, options)
        if not seen[key] then
            seen[key] = is_delayed and 'ZCARD' or 'XLEN'
            total = total + 1
        end
    end
    if total > 1 then
        for key, command in pairs(seen) do
            must(command, key)
        end
    end
end

-- Each job is asked for its unique key, then they are counted, then added.
local function enqueue_each(base, backlog_max, args, first, parsed)
    local total = (#args - first + 1) / 4
    local streams = streams_of(base)
    local room = room_for(streams, backlog_max, total)
    local bytes, bytes_left = 0, bytes_room(base, streams, bytes_in(args, first))
    local answers, new, claims, takers, asked = {}, {}, NONE, NONE, NONE  -- takers: of keys, in this call
    local added, twins, refused = 0, 0, 0
    for i = 1, total do
        local at = first + 4 * (i - 1)
        local id, domain, options = args[at], args[at + 1], parsed[i]
        local size = #args[at + 3] + JOB_BYTES
        local is_full = added >= room or bytes + size > bytes_left
        local holder
        if options and options.unique then
            local claim = new_claim(base, id, domain, options, args[at + 3])
            if claims == NONE then
                claims, takers = {}, {}
            end
            claims[i] = claim
            claim.fellow = takers[claim.key]
            holder = find_twin(base, claim, options, claim.fellow)
            if holder == nil then
                claim.fellow = nil
                if not is_full then
                    must_be_writable(claim.key)
                    takers[claim.key] = claim
                end
            end
        end
        if holder then
            twins = twins + 1
            answers[i] = holder
            if options.reply and holder ~= id then
                asked = asked ~= NONE and asked or {}
                asked[i] = UNIQUE_TTL_MS + (options.delay_ms or 0)
            end
        elseif is_full then
            refused = refused + 1
            answers[i] = 'FULL'
        else
            added = added + 1
            bytes = bytes + size
            answers[i] = id
            new[added] = i
        end
    end
    if added > 1 then
        check_targets(base, new, parsed)
    end
    if added > 0 and not count_enqueued(base, streams, added) then
        room = max(room_for(streams, backlog_max, added), 0)
        count_enqueued(base, streams, added)
        if added > room then
            twins = twins - refuse_from(base, answers, new, room + 1, claims)
            added = room
        end
    end
    take_bytes(streams, bytes, added)
    for n = 1, added do
        local i = new[n]
        local at = first + 4 * (i - 1)
        local options = parsed[i] or NONE
        local place, problem = add_new(base, args[at], args[at + 1], args[at + 2], options, args[at + 3])
        if problem and n == 1 then
            count(base, 'enqueued', -added)
            error(problem)
        elseif problem then
            twins = twins - refuse_from(base, answers, new, n, claims)
            break
        end
        if claims[i] then
            put_claim(claims[i], place)
        end
    end
    count(base, 'deduplicated', twins)
    count(base, 'refused', refused)
    for i = 1, asked == NONE and 0 or total do  -- in their order: two may ask for one
        if asked[i] and answers[i] ~= 'FULL' then
            try('SET', wanted_key(base, answers[i]), '1', 'PX', digits(asked[i]))
        end
    end
    return answers
end

-- Adds checked jobs, four values each from args[first] on; parsed[i] are their options, NONE where no
-- job has any.
local function enqueue(base, backlog_max, args, first, parsed)
    local streams = streams_of(base)
    local total = (#args - first + 1) / 4
    local bytes = bytes_in(args, first)
    if parsed == NONE and total <= room_for(streams, backlog_max, total)
        and bytes <= bytes_room(base, streams, bytes) and count_enqueued(base, streams, total) then
        take_bytes(streams, bytes, total)
        return enqueue_plain(base, args, first, total)
    end
    local answers, problem = attempt(enqueue_each, base, backlog_max, args, first, parsed)
    commit()
    return answers or problem
end

-- A producer's clock may be wrong, and his word too: a first time that lies ahead, or more than a year
-- back, is now.
local function believe_since(text, since)
    local now = now_ms()
    if since <= now and since >= now - SINCE_MAX_MS then
        return text
    end
    return edit_options(text, digits(now), {since = true})
end

function api.sh_enqueue(base, args)
    local problem = check_base(base)
    if problem then
        return problem
    end
    local total = (#args - 1) / 4
    if total % 1 ~= 0 or total < 1 or total > JOBS_MAX then
        return invalid('arguments', tostring(#args),
            'max_backlog and then id domain options body for each of 1 to 1000 jobs')
    end
    if args[1] ~= good_limit then
        local number = integer(args[1])
        if not number then
            return invalid('max_backlog', args[1], 'a whole number, 0 for no bound')
        end
        good_limit, good_limit_number = args[1], number
    end
    local parsed = NONE
    for i = 1, total do
        local at = 4 * i - 2
        problem = check_job(args[at], args[at + 1], args[at + 3])
        local text = args[at + 2]
        if not problem and text ~= '' then
            if text ~= good_text then
                local options
                options, problem = parse_options(text)
                good_text, good_options = options and text, options
            end
            if parsed == NONE then
                parsed = {}
            end
            parsed[i] = good_options
            if good_options and good_options.since then
                args[at + 2] = believe_since(text, good_options.since)
            end
        end
        if problem then
            return problem
        end
    end
    return enqueue(base, good_limit_number, args, 2, parsed)
end

---- push: the same for a human --------------------------------------------------------------------

do  -- what only this section needs is its own: a chunk has 200 locals at most

local PUSH_OPTIONS = {'priority', 'delay_ms', 'deadline_ms', 'unique', 'reply', 'traceparent'}

local function pack_double(number)
    return '\203' .. struct.pack('>d', number)
end

local function push_text(value)
    return find(value, '%S') and cmsgpack.pack(value) or nil
end

local function push_k(value)
    local k = integer(value)
    return k and k >= 1 and k <= 20 and cmsgpack.pack(k) or nil
end

local function push_quality(value)
    local quality = find(value, '^[%d.]+$') and tonumber(value)
    return quality and quality <= 1 and pack_double(quality) or nil
end

local PUSH_TRUTH = {['true'] = '\195', ['1'] = '\195', ['false'] = '\194', ['0'] = '\194'}

local function push_truth(value)
    return PUSH_TRUTH[value]
end

local TEXT_RULE = {push_text, 'text that is not blank'}

-- The body's fields of the queues that are known: in order, with their rule; who must be there; what
-- stands for one that is not.
local PUSH_BODIES = {
    enrich = {
        {'query', TEXT_RULE, required = true},
        {'k', {push_k, 'a whole number from 1 to 20'}},
    },
    distill = {
        {'task_id', TEXT_RULE, required = true},
        {'prompt', TEXT_RULE, required = true},
        {'result', TEXT_RULE, required = true},
        {'success', {push_truth, 'true or false'}, default = 'true'},
        {'quality', {push_quality, 'a number from 0 to 1'}},
        {'model', TEXT_RULE},
    },
}

-- A head of 16 bits; more fields are refused by push_fields.
local function pack_map(pairs_packed)
    local total = #pairs_packed / 2
    local head = total < 16 and string.char(128 + total) or '\222' .. struct.pack('>H', total)
    return head .. table.concat(pairs_packed)
end

-- Takes the fields of a known queue's body out of `given`.
local function push_known(rules, given)
    local packed = {}
    for _, rule in ipairs(rules) do
        local field, value = rule[1], given[rule[1]] or rule.default
        if value then
            local bytes = rule[2][1](value)
            if not bytes then
                return nil, invalid(field, value, rule[2][2])
            end
            packed[#packed + 1] = cmsgpack.pack(field)
            packed[#packed + 1] = bytes
        elseif rule.required then
            return nil, invalid(field, '', rule[2][2])
        end
        given[field] = nil
    end
    local unknown = next(given)
    if unknown then
        local names = {}
        for i, rule in ipairs(rules) do
            names[i] = rule[1]
        end
        return nil, invalid('field', unknown, 'domain, ' .. table.concat(PUSH_OPTIONS, ', ')
            .. ', ' .. table.concat(names, ', '))
    end
    return pack_map(packed)
end

-- Any other queue: `body` as it is, or else a map of text to text, in the order given.
local function push_other(given, order)
    if given.body then
        local body = given.body
        given.body = nil
        if next(given) then
            return nil, invalid('field', next(given), 'nothing beside body')
        end
        return body
    end
    if not next(given) then
        return ''
    end
    local packed = {}
    for _, field in ipairs(order) do
        if given[field] then
            packed[#packed + 1] = cmsgpack.pack(field)
            packed[#packed + 1] = cmsgpack.pack(given[field])
        end
    end
    return pack_map(packed)
end

local function push_body(base, given, order)
    local name = match(base, '{([^{}]+)}$')
    local kind = match(name, '^(.-)%.%d+$') or name
    if kind == 'index' then
        return nil, invalid('queue', name, 'a queue of plain fields; its documents need sh_enqueue')
    end
    if PUSH_BODIES[kind] then
        return push_known(PUSH_BODIES[kind], given)
    end
    return push_other(given, order)
end

local function push_options(given)
    local pairs_text, options = {}, {}
    for _, key in ipairs(PUSH_OPTIONS) do
        if given[key] then
            local parsed, problem = check_option(key, given[key])
            if problem then
                return nil, nil, problem
            end
            options[key] = parsed
            pairs_text[#pairs_text + 1] = key .. '=' .. given[key]
            given[key] = nil
        end
    end
    return table.concat(pairs_text, ' '), next(options) and options or nil
end

local function push_fields(args)
    local given, order = {}, {}
    if #args == 0 or #args % 2 == 1 or #args > 2 * PUSH_FIELDS_MAX then
        return nil, invalid('arguments', tostring(#args),
            'at most ' .. PUSH_FIELDS_MAX .. ' pairs of a field and its value')
    end
    for i = 1, #args, 2 do
        if given[args[i]] then
            return nil, invalid('field', args[i], 'it once')
        end
        given[args[i]] = args[i + 1]
        order[#order + 1] = args[i]
    end
    return given, order
end

function api.sh_push(base, args)
    local problem = check_base(base)
    if problem then
        return problem
    end
    local given, order = push_fields(args)
    if not given then
        return order
    end
    local domain = given.domain or ''
    given.domain = nil
    local text, options, bad_option = push_options(given)
    if bad_option then
        return bad_option
    end
    local body, bad_body = push_body(base, given, order)
    if not body then
        return bad_body
    end
    local counted = try('HMGET', streams_of(base).counters, 'enqueued', 'deduplicated') or {}
    local serial = (integer(counted[1]) or 0) + (integer(counted[2]) or 0)
    local id = format('push-%x-%d', now_us(), serial)
    problem = check_job(id, domain, body)
    if problem then
        return problem
    end
    local answers = enqueue(base, PUSH_BACKLOG, {id, domain, text, body}, 1, {options})
    if answers[1] == 'FULL' then
        return redis.error_reply(format('SHFULL queue "%s": %d jobs wait already', base, PUSH_BACKLOG))
    end
    return answers[1] or answers
end

end

---- the fence -------------------------------------------------------------------------------------

-- What `consumer` holds between two entries: delivery counts by entry. NOGROUP: nothing.
local function pending_between(stream, consumer, low, high, limit)
    local rows = pcall_redis('XPENDING', stream, GROUP, low, high, limit, consumer)
    if rows.err then
        return is_nogroup(rows) and {} or nil, refusal(stream, rows)
    end
    local held = {}
    for i = 1, #rows do
        held[rows[i][1]] = rows[i][4]
    end
    return held
end

-- Delivery counts, by entry, of those of `entries` that `consumer` holds. They mostly come in their
-- order, so one look from the first to the last finds them; what it does not find is asked for singly.
local function held_of(stream, consumer, entries)
    local total = #entries
    local held, problem =
        pending_between(stream, consumer, entries[1], entries[total], total + FENCE_SLACK)
    if not held then
        return nil, problem
    end
    for i = 1, total do
        local entry = entries[i]
        if not held[entry] then
            local one, trouble = pending_between(stream, consumer, entry, entry, 1)
            if not one then
                return nil, trouble
            end
            held[entry] = one[entry]
        end
    end
    return held
end

-- Which jobs, `stride` values each from args[first] on and beginning with stream, entry and
-- deliveries, are this consumer's with that very delivery count: an array of the streams' numbers, false
-- for those that are not, and the stream keys. An entry that is named twice is its only once.
local function fence(base, consumer, args, first, stride)
    local total = (#args - first + 1) / stride
    if total ~= floor(total) or total < 1 or total > JOBS_MAX then
        return nil, invalid('arguments', tostring(#args), stride .. ' for each of 1 to 1000 jobs')
    end
    local streams = streams_of(base)
    local entries = {}
    for i = first, #args, stride do
        local entry, s = args[i + 1], STREAM_AT[args[i]]
        if not s then
            return nil, invalid('stream', args[i], '0, 1 or 2')
        end
        if not find(entry, '^%d+%-%d+$') or #entry > 41 then
            return nil, invalid('entry', entry, 'a stream entry id')
        end
        local list = entries[s]
        if list then
            list[#list + 1] = entry
        else
            entries[s] = {entry}
        end
    end
    local held = {}
    for s, list in pairs(entries) do
        local problem
        held[s], problem = held_of(streams[s], consumer, list)
        if problem then
            return nil, problem
        end
    end
    local ours = {}
    for j = 1, total do
        local at = first + stride * (j - 1)
        local s, entry = STREAM_AT[args[at]], args[at + 1]
        local deliveries = held[s][entry]
        ours[j] = deliveries ~= nil and deliveries == tonumber(args[at + 2]) and s
        if ours[j] then
            held[s][entry] = nil
        end
    end
    return ours, streams
end

-- What a function adds to a stream it takes back by XDEL: it makes sure of that right before it begins.
-- No entry has this id.
local function must_delete(stream)
    must('XDEL', stream, '0-0')
end

-- Takes entries that `consumer` holds out of the group and out of the stream; deliveries is the count
-- of all, or of each. Returns how many were really pending, or nil and the error: then it holds them
-- as before.
local function remove(stream, consumer, entries, deliveries)
    if #entries == 0 then
        return 0
    end
    local acked, problem = try('XACK', stream, GROUP, unpack(entries))
    if acked then
        local _, trouble = try('XDEL', stream, unpack(entries))
        if not trouble then
            return acked
        end
        problem = trouble
        for i = 1, #entries do
            try('XCLAIM', stream, GROUP, consumer, 0, entries[i], 'RETRYCOUNT',
                tonumber(deliveries) or deliveries[i], 'FORCE', 'JUSTID')
        end
    end
    return nil, refusal(stream, problem)
end

-- As remove(); raises. It cannot be taken back, so it is the last write of what it is part of.
local function must_remove(stream, consumer, entries, deliveries)
    local acked, problem = remove(stream, consumer, entries, deliveries)
    if problem then
        error(problem)
    end
    return acked
end

---- the fleet: how a running job ends -------------------------------------------------------------

-- A job whose deadline passed while twins of it, which are content with later, stand behind it: it is
-- added anew with the last of theirs. False where there are none.
local function renew_for_twins(base, stream, entry, job)
    local key = job.unique ~= '' and unique_key(base, job.domain, job.unique)
    local held = key and try('GET', key)
    local claim = is_held_by(held, job.id) and read_claim(held)
    if not claim or not claim.content or (claim.content > 0 and claim.content <= now_ms()) then
        return false
    end
    local whole = read_job(stream, entry)
    if not whole then
        return false
    end
    local text = edit_options(whole.options, entry_ms(entry), {deadline_ms = true})
    if claim.content > 0 then
        text = text .. ' deadline_ms=' .. digits(claim.content)
    end
    must_delete(stream)
    local added = add_job(stream, whole.id, whole.domain, whole.attempt, text, whole.body)
    undo_with('XDEL', stream, added)
    claim.content = nil
    claim.place = place_in_stream(read_options(text), added)
    must('SET', key, claim_text(claim), 'PX', digits(UNIQUE_TTL_MS))
    undo_with('SET', key, held, 'PX', digits(UNIQUE_TTL_MS))
    return true
end

-- Ends the jobs of one stream; `places` are those of their eight arguments.
local function finish_some(base, args, stream, places)
    local entries, deliveries, jobs, fates = {}, {}, {}, {}
    local done, expired = 0, 0
    for i, at in ipairs(places) do
        entries[i], deliveries[i] = args[at + 1], tonumber(args[at + 2])
        local flags = tonumber(args[at + 6]) or 0
        local job = {id = args[at + 3], domain = args[at + 4], unique = args[at + 5],
            reply = flags >= FLAG_REPLY and args[at + 7]}
        jobs[i] = job
        if flags % 2 ~= FLAG_EXPIRED then
            done = done + 1
        elseif renew_for_twins(base, stream, entries[i], job) then
            fates[i] = RENEWED
        else
            expired = expired + 1
            job.fault = 'expired: its deadline passed'
        end
    end
    count_undoably(base, 'done', done)
    count_undoably(base, 'expired', expired)
    for i, job in ipairs(jobs) do
        fates[i] = fates[i] or settle(base, job, job.reply, job.fault)
    end
    must_remove(stream, args[1], entries, deliveries)
    return fates
end

-- consumer, then for each job: stream entry deliveries id domain unique flags reply. The fate of each; an
-- expired one whose twins have more time is RENEWED: it waits again.
function api.sh_finish(base, args)
    local ours, streams = fence(base, args[1], args, 2, 8)
    if not ours then
        return streams
    end
    local places, first = {}, ours[1]
    for j = 1, #ours do
        local list = places[ours[j]]
        if list then
            list[#list + 1] = 8 * j - 6
        elseif ours[j] then
            places[ours[j]] = {8 * j - 6}
        end
    end
    if first and #places[first] == #ours then  -- all of one stream, as nearly always
        return finish_some(base, args, streams[first], places[first])
    end
    local ended = each_of({places[1] or false, places[2] or false, places[3] or false}, function(s)
        return finish_some(base, args, streams[s], places[s])
    end)
    local fates = {}
    for j = 1, #ours do
        fates[j] = LOST
    end
    for s, list in pairs(places) do
        for i, at in ipairs(list) do
            fates[(at + 6) / 8] = ended[s] ~= LOST and ended[s][i] or LOST
        end
    end
    return fates
end

-- consumer stream deliveries entry...: ends jobs of one stream that nobody waits for (no unique key, no
-- reply) and that were handed out equally often: nearly every job, for a quarter of the arguments.
-- Returns how many; where some are not this consumer's any more, the fate of each instead.
function api.sh_done(base, args)
    local stream = streams_of(base)[(tonumber(args[2]) or -1) + 1]
    local deliveries = integer(args[3])
    if not stream or not deliveries or #args < 4 or #args > JOBS_MAX + 3 then
        return invalid('arguments', tostring(#args), 'consumer stream deliveries and 1 to 1000 entries')
    end
    local entries = {unpack(args, 4)}
    local held, problem = held_of(stream, args[1], entries)
    if problem then
        return problem
    end
    local total = #entries
    local fates, ours, mine = {}, {}, 0
    for i = 1, total do
        local entry = entries[i]
        fates[i] = LOST
        if held[entry] == deliveries then
            fates[i] = MOVED
            mine = mine + 1
            ours[mine] = entry
            held[entry] = nil  -- one that is named twice is its only once
        end
    end
    if mine > 0 then
        count(base, 'done', mine)
        local _, trouble = remove(stream, args[1], ours, deliveries)
        if trouble then
            count(base, 'done', -mine)
            return trouble
        end
    end
    return mine == total and total or fates
end

-- "<tries>.<upstream>.<operation>": a job that was tried just now; with the ms of its last try behind
-- it: one that was not. "1" is what older workers say.
local function is_parked(given)
    return given == '1' or (#given <= 64 and find(given, '^%d+%.%l+%.%l+') ~= nil)
end

-- What a parked job remembers. One whose attempt was burnt waits for nobody any more.
local function remember_parked(text, since, given, now)
    if given == '1' or (not is_parked(given) and not find(text, 'parked=', 1, true)) then
        return text
    end
    local kept = edit_options(text, since, {parked = true})
    if not is_parked(given) then
        return kept
    end
    return kept .. ' parked=' .. match(given, '^%d+%.%l+%.%l+') .. '.'
        .. (match(given, '^%d+%.%l+%.%l+%.(%d+)$') or digits(now))
end

-- Moves one running job to delayed.
local function delay_running(base, job, entry, delay, parked)
    local now, since = now_ms(), entry_ms(entry)
    count_undoably(base, is_parked(parked) and 'parked' or 'retried', 1)
    local failures = min(tonumber(job.attempt) + (is_parked(parked) and 0 or 1), ATTEMPT_MAX)
    delay_job(base, now + delay, job.id, job.domain, digits(failures),
        remember_parked(job.options, since, parked, now), job.body, since)
    local options = read_options(job.options)
    note_place(base, job.domain, options.unique, job.id, place_delayed(options, now + delay, 'r'),
        UNIQUE_TTL_MS + delay)
end

-- consumer, then for each job: stream entry deliveries delay_ms parked, which is 0 or as in is_parked
-- (sh_park is the same function: a library before 5, to which such a text is a failure like any other, has
-- none of that name, so that who parks on it is refused and says "1".)
function api.sh_retry(base, args)
    local ours, streams = fence(base, args[1], args, 2, 5)
    if not ours then
        return streams
    end
    return each_of(ours, function(j)
        local at = 5 * j - 3
        local stream, entry = streams[ours[j]], args[at + 1]
        local job = read_job(stream, entry)
        if not job then
            return LOST
        end
        delay_running(base, job, entry, min(integer(args[at + 3]) or 0, DELAY_MAX_MS), args[at + 4])
        must_remove(stream, args[1], {entry}, args[at + 2])
        return MOVED
    end)
end

-- What a dead letter keeps of an entry: the first fields; of one that is too large a job's own, and of
-- each the beginning where that alone is too large.
local function letter_fields(fields, job)
    local letter = {}
    if bytes_of(fields) <= ENTRY_MAX then
        for i = 1, min(#fields, FIELDS_MAX) do
            letter[i] = fields[i]
        end
        return letter
    end
    for _, name in ipairs({'id', 'domain', 'attempt', 'options', 'body'}) do
        local value = job[name]
        if value then
            letter[#letter + 1] = name
            letter[#letter + 1] = #value <= BODY_MAX and value or sub(value, 1, ERROR_MAX)
        end
    end
    return letter
end

-- Writes the dead letter of an entry's fields. `attempts` counts this failure too, except for a job
-- that nobody ever said no to (crash_loop).
local function add_dead(base, fields, entry, reason, text, deliveries, worker)
    local job = by_name(fields)
    local failures = integer(job.attempt) or 0
    local letter = letter_fields(fields, job)
    local facts = {
        'reason', reason, 'error', sub(text, 1, ERROR_MAX),
        'attempts', digits(reason == 'crash_loop' and failures or failures + 1),
        'deliveries', digits(deliveries), 'died', digits(now_ms()), 'worker', worker,
    }
    if entry and not read_options(job.options).since then
        facts[#facts + 1] = 'since'
        facts[#facts + 1] = entry_ms(entry)
    end
    for _, value in ipairs(facts) do
        letter[#letter + 1] = value
    end
    count_undoably(base, 'buried', 1)
    local key = base .. ':dead'
    undo_with('XDEL', key, must('XADD', key, '*', unpack(letter)))
    return job
end

-- consumer, worker, then for each job: stream entry deliveries reason error flags reply
function api.sh_bury(base, args)
    local ours, streams = fence(base, args[1], args, 3, 7)
    if not ours then
        return streams
    end
    must_delete(base .. ':dead')
    return each_of(ours, function(j)
        local at = 7 * j - 4
        local stream, entry = streams[ours[j]], args[at + 1]
        local _, fields = read_job(stream, entry)
        if not fields then
            return LOST
        end
        local job = add_dead(base, fields, entry, args[at + 3], args[at + 4],
            tonumber(args[at + 2]), args[2])
        local flags = tonumber(args[at + 5]) or 0
        local fate = settle(base, {id = job.id or '', domain = job.domain or '',
            unique = read_options(job.options).unique}, flags >= FLAG_REPLY and job.id and args[at + 6],
            args[at + 4])
        must_remove(stream, args[1], {entry}, args[at + 2])
        return fate
    end)
end

-- id, reply, ["wanted"]: for an asker that came after the job's own end was decided (WANTED); with the
-- word only where one still waits.
function api.sh_reply(base, args)
    if #args < 2 or #args > 3 or not is_id(args[1]) then
        return invalid('arguments', tostring(#args), 'a job id and its reply')
    end
    local wanted = try('DEL', wanted_key(base, args[1]))
    if wanted == 1 or args[3] ~= 'wanted' then
        push_reply(base, args[1], args[2])
    end
    return redis.status_reply('OK')
end

-- Adds the job of an entry to its stream anew, as it is; whoever calls it takes the entry away.
local function add_again(base, stream, entry, job)
    must_delete(stream)
    local text = edit_options(job.options, entry_ms(entry))
    local added = add_job(stream, job.id, job.domain, job.attempt, text, job.body)
    undo_with('XDEL', stream, added)
    local options = read_options(text)
    note_place(base, job.domain, options.unique, job.id, place_in_stream(options, added))
end

-- consumer, visibility_ms, again, then for each job: stream entry deliveries. Returns how many.
function api.sh_release(base, args)
    local ours, streams = fence(base, args[1], args, 4, 3)
    if not ours then
        return streams
    end
    if not integer(args[2]) then
        return invalid('visibility_ms', args[2], 'a whole number of milliseconds')
    end
    local released = 0
    each_of(ours, function(j)
        local at = 3 * j + 1
        local stream, entry = streams[ours[j]], args[at + 1]
        if args[3] ~= '1' then
            local deliveries = max(tonumber(args[at + 2]) - 1, 0)
            released = released + #must('XCLAIM', stream, GROUP, args[1], 0, entry, 'IDLE',
                max(integer(args[2]), CLAIMABLE_IDLE_MS),
                'RETRYCOUNT', deliveries, 'JUSTID')
            return MOVED
        end
        local job = read_job(stream, entry)
        if not job then
            return LOST
        end
        add_again(base, stream, entry, job)
        released = released + must_remove(stream, args[1], {entry}, args[at + 2])
        return MOVED
    end)
    return released
end

-- consumer, then for each job: stream entry deliveries. Returns how many are still this consumer's.
function api.sh_heartbeat(base, args)
    local ours, streams = fence(base, args[1], args, 2, 3)
    if not ours then
        return streams
    end
    local entries = {{}, {}, {}}
    for j = 1, #ours do
        if ours[j] then
            local list = entries[ours[j]]
            list[#list + 1] = args[3 * j]
        end
    end
    local alive = 0
    for s = 1, 3 do
        if #entries[s] > 0 then
            local claim = {'XCLAIM', streams[s], GROUP, args[1], 0, unpack(entries[s])}
            claim[#claim + 1] = 'JUSTID'
            alive = alive + #call(unpack(claim))
        end
    end
    return alive
end

---- what is so ------------------------------------------------------------------------------------

local COUNTERS = {
    'enqueued', 'deduplicated', 'refused', 'done', 'retried', 'buried', 'expired', 'reclaimed',
    'requeued', 'discarded', 'parked', 'reset',
}

-- A counter as a number, nil for what is none: junk, or more than the books could be added up with.
local function counter_value(text)
    local number = #text <= 16 and find(text, '^%d+$') and tonumber(text)
    return number and number <= COUNTER_MAX and number or nil
end

-- The group's facts, {pending = 0} where there is no stream or no group.
local function group_of(stream)
    for _, row in ipairs(try('XINFO', 'GROUPS', stream) or NONE) do
        local group = by_name(row)
        if group.name == GROUP then
            return group
        end
    end
    return {pending = 0}
end

-- Whether a stream of so many entries takes no more, since its last id is the last there is. (XINFO would
-- say so too, with the bodies of two entries.)
local function is_exhausted(stream, length, group)
    if group['last-delivered-id'] == LAST_ID then
        return true
    end
    if length > 0 then
        return #(try('XRANGE', stream, LAST_ID, LAST_ID) or NONE) > 0
    end
    return by_name(try('XINFO', 'STREAM', stream) or NONE)['last-generated-id'] == LAST_ID
end

---- the janitor -----------------------------------------------------------------------------------

-- What the black box says of a job: the phase its last lane was in, and that lane's consumer name.
-- Written by lanes for jobs that were taken over ("upsert host-7-3f.2"), see workers/context/blackbox.h.
local function last_phase(base, id)
    local text = id and try('GET', base .. ':phase:' .. id)
    return match(sub(text or '', 1, ERROR_MAX), '^(%l+) (.+)$')
end

-- Buries an entry that nobody shall have, and that death.consumer holds now.
local function bury_held(base, stream, entry, fields, death)
    must_delete(base .. ':dead')
    local job = add_dead(base, fields, entry, death.reason, death.text, death.deliveries, death.worker)
    settle_fault(base, job, death.text)
    must_remove(stream, death.consumer, {entry}, death.deliveries)
    return true
end

-- Buries an entry that was handed out too often, and that taker.consumer holds now. Returns its bytes, 0
-- where it is gone.
local function bury_crash_loop(base, stream, entry, taker)
    local found = must('XRANGE', stream, entry, entry)[1]
    if not found then
        return 0
    end
    local fields, worker = found[2], taker.worker
    local id = by_name(fields).id
    local phase, last = last_phase(base, id)
    local text = format('handed out %d times without an end', taker.deliveries)
    if phase then
        text = format('%s; the last worker, "%s", died in phase "%s"', text, last, phase)
        worker = last
    end
    bury_held(base, stream, entry, fields, {consumer = taker.consumer, worker = worker,
        deliveries = taker.deliveries, reason = 'crash_loop', text = text})
    if phase then
        try('DEL', base .. ':phase:' .. id)
    end
    return bytes_of(fields)
end

-- Sorts idle entries by how often they were handed out: those to bury, those to take now, those to
-- leave for the next one who asks. A job that was handed out twice without an end is a suspect: it
-- may be what kills its workers, so it is taken alone, and only by one who takes suspects; the jobs
-- that merely were in its batch end meanwhile.
local function sort_idle(entries, held, limit, suspects)
    local bury, take, leave = {}, {}, {}
    local alone = false
    local threshold = max(min(SUSPECT_AFTER, limit - 1), 1)
    for _, entry in ipairs(entries) do
        local deliveries = held[entry] or 1
        local suspect = deliveries >= threshold
        if deliveries >= limit then
            bury[#bury + 1] = entry
        elseif alone or (suspect and (#take > 0 or not suspects)) then
            leave[#leave + 1] = entry
        else
            take[#take + 1] = entry
            alone = suspect
        end
    end
    return bury, take, leave
end

-- Entries that were claimed but are not taken are claimable again at once.
local function leave_idle(stream, consumer, entries)
    if #entries > 0 then
        local claim = {'XCLAIM', stream, GROUP, consumer, 0, unpack(entries)}
        for _, word in ipairs({'IDLE', CLAIMABLE_IDLE_MS, 'JUSTID'}) do
            claim[#claim + 1] = word
        end
        try(unpack(claim))
    end
end

-- Buries entries, and no more once CALL_BYTES went; one that cannot be buried goes to `leave`, so that
-- the others are taken over all the same. Returns how many were, how many were looked at, their bytes.
local function bury_all(base, args, entries, held, leave)
    local stream = streams_of(base)[tonumber(args[1]) + 1]
    local buried, bytes, seen = 0, 0, 0
    while seen < #entries and bytes < CALL_BYTES do
        seen = seen + 1
        local entry = entries[seen]
        local size = attempt(bury_crash_loop, base, stream, entry, {
            consumer = args[2], deliveries = held[entry] or 1, worker = args[3]})
        commit()
        if not size then
            leave[#leave + 1] = entry
        elseif size > 0 then
            buried = buried + 1
            bytes = bytes + size
        end
    end
    return buried, seen, bytes
end

-- Appends the entries with their deliveries and fields to the answer, and no more once CALL_BYTES went,
-- with `bytes` that went before. Returns how many were looked at, and how many were buried: too large to
-- be sent to a worker, which holds nothing of that size.
local function claim_all(base, args, entries, held, bytes, answer)
    local stream = streams_of(base)[tonumber(args[1]) + 1]
    local seen, buried = 0, 0
    while seen < #entries and bytes < CALL_BYTES do
        seen = seen + 1
        local entry = entries[seen]
        local found = must('XCLAIM', stream, GROUP, args[2], 0, entry)[1]
        local size = found and bytes_of(found[2]) or 0
        local deliveries = (held[entry] or 1) + 1
        if size > ENTRY_MAX then
            local death = {consumer = args[2], worker = args[3], deliveries = deliveries, reason = 'oversize',
                text = format('an entry of %d bytes, expected at most %d', size, ENTRY_MAX)}
            buried = buried + (attempt(bury_held, base, stream, entry, found[2], death) and 1 or 0)
            commit()
        elseif found then
            answer[#answer + 1] = {entry, deliveries, found[2]}
        end
        bytes = bytes + size
    end
    return seen, buried
end

-- Moves what stands behind the first `seen` of `entries` to `others`; the first of them, or `first`
-- where that comes before.
local function put_off(entries, seen, others, first)
    for i = seen + 1, #entries do
        others[#others + 1] = entries[i]
    end
    local entry = entries[seen + 1]
    return entry and (not first or is_before(entry, first)) and entry or first
end

-- stream consumer worker visibility_ms max_deliveries count cursor [suspects]
-- Returns {cursor, buried, {entry, deliveries, fields}, ...}; about CALL_BYTES a call: the cursor then
-- stands at what was put off.
function api.sh_reclaim(base, args)
    local stream = streams_of(base)[(tonumber(args[1]) or -1) + 1]
    local limit = integer(args[5])
    if #args < 7 or #args > 8 or not stream or not limit or not integer(args[4]) then
        return invalid('arguments', tostring(#args),
            'stream consumer worker visibility_ms max_deliveries count cursor [suspects]')
    end
    if is_paused(base) then
        return {'0-0', 0}
    end
    local claimed = pcall_redis('XAUTOCLAIM', stream, GROUP, args[2], args[4], args[7],
        'COUNT', args[6], 'JUSTID')
    if claimed.err then
        return is_nogroup(claimed) and {'0-0', 0} or refusal(stream, claimed)
    end
    local answer = {claimed[1], 0}
    if #claimed[2] == 0 then
        return answer
    end
    local held, problem = held_of(stream, args[2], claimed[2])
    if problem then
        return problem
    end
    local bury, take, leave = sort_idle(claimed[2], held, limit, args[8] ~= '0')
    local buried, bury_seen, bytes = bury_all(base, args, bury, held, leave)
    local take_seen, oversize = claim_all(base, args, take, held, bytes, answer)
    local first = put_off(take, take_seen, leave, put_off(bury, bury_seen, leave))
    leave_idle(stream, args[2], leave)
    answer[1] = first or answer[1]
    answer[2] = buried + oversize
    attempt(count, base, 'reclaimed', #answer - 2)
    return answer
end

-- The parts of a delayed member; nothing where it is none. (No pattern over the whole: it would walk
-- through the body.)
local function split_member(member)
    local stop = find(member, '\n', 1, true)
    if not stop then
        return nil
    end
    local id, domain, attempt, options = match(sub(member, 1, stop - 1), '^(%S+) (%S+) (%d+) ?(.*)$')
    return id, domain, attempt, options, sub(member, stop + 1)
end

-- Moves one member of delayed to its stream; one that is no job goes to dead, so that it cannot
-- stand in the way for ever.
local function promote_member(base, member)
    local id, domain, failures, options, body = split_member(member)
    if id then
        options = plain_since(options)
        local read = read_options(options)
        local stream = stream_for(base, read)
        local entry = add_job(stream, id, domain, failures, options, body)
        undo_with('XDEL', stream, entry)
        note_place(base, domain, read.unique, id, place_in_stream(read, entry))
    else
        add_dead(base, {'body', member}, nil, 'malformed', 'delayed member without a job\'s head', 0, '')
    end
    must('ZREM', base .. ':delayed', member)
    return MOVED
end

-- limit ["paused"]. Moves up to `limit` jobs, and no more once CALL_BYTES went. Returns {moved, ms until
-- the next is due or -1}: 0 where more are due; with the word a third: 1 where the queue is paused, else 0.
-- One member at a time: how large the next one is nobody knows.
function api.sh_promote(base, args)
    local limit = integer(args[1])
    if not limit or limit < 1 or limit > JOBS_MAX then
        return invalid('limit', args[1] or '', 'a whole number from 1 to 1000')
    end
    local paused = args[2] == 'paused' and 0 or nil
    if is_paused(base) then
        return {0, -1, paused and 1}
    end
    local key = base .. ':delayed'
    local now = now_ms()
    local seen, moved, bytes = 0, 0, 0
    while seen < limit and bytes < CALL_BYTES do
        local first = must('ZRANGE', key, 0, 0, 'WITHSCORES')
        local member, due = first[1], first[2] and tonumber(first[2])
        if not member or due > now then
            return {moved, member and min(floor(due) - now, DELAY_MAX_MS) or -1, paused}
        end
        if attempt(promote_member, base, member) then
            moved = moved + 1
        else  -- its stream takes none: it makes way
            must('ZADD', key, 'XX', digits(now + PROMOTE_AGAIN_MS), member)
        end
        commit()
        seen = seen + 1
        bytes = bytes + #member
    end
    local next_one = must('ZRANGE', key, 0, 0, 'WITHSCORES')
    local due = next_one[2] and tonumber(next_one[2])
    return {moved, due and max(min(floor(due) - now, DELAY_MAX_MS), 0) or -1, paused}
end

---- jobs that are parked: what they wait for, and their release by hand ---------------------------

do

-- The operation that a delayed job waits for, "chroma.write"; nil for one that is not parked.
local function waits_for(member)
    local stop = find(member, '\n', 1, true)
    local at = find(member, ' parked=', 1, true)
    if stop and at and at < stop and stop - at <= 256 then
        return match(sub(member, at, stop - 1), '^ parked=%d+%.(%l+%.%l+)%.%d+')
    end
end

local PARKED_KINDS = 16

-- first. What the delayed jobs wait for, from rank `first` on, as far as 1,000 jobs or CALL_BYTES
-- reach. Returns {rank to go on from, or -1, operation, count, ...}.
function api.sh_parked(base, args)
    local first = integer(args[1])
    if not first then
        return invalid('first', args[1] or '', 'a whole number')
    end
    local key, at, bytes = base .. ':delayed', first, 0
    local counts, kinds = {}, {}
    while at < first + JOBS_MAX and bytes < CALL_BYTES do
        local found = try('ZRANGE', key, at, at)
        local member = found and found[1]
        if not member then
            at = -1
            break
        end
        local operation = waits_for(member)
        if operation then
            if not counts[operation] and #kinds == PARKED_KINDS then
                operation = 'other'
            end
            if not counts[operation] then
                kinds[#kinds + 1] = operation
            end
            counts[operation] = (counts[operation] or 0) + 1
        end
        at = at + 1
        bytes = bytes + #member
    end
    local answer = {at}
    for _, operation in ipairs(kinds) do
        answer[#answer + 1] = operation
        answer[#answer + 1] = counts[operation]
    end
    return answer
end

-- passed. Makes parked jobs due now, as far as 1,000 jobs or CALL_BYTES reach, those first that are due
-- last: what becomes due between two calls moves none of the others there. `passed` were looked at before
-- and are not parked. Returns {passed, or -1 at the end, released}.
function api.sh_unpark(base, args)
    local passed = integer(args[1])
    if not passed then
        return invalid('passed', args[1] or '', 'a whole number')
    end
    local key, now = base .. ':delayed', now_ms()
    local released, seen, bytes = 0, 0, 0
    while seen < JOBS_MAX and bytes < CALL_BYTES do
        local found = must('ZRANGE', key, passed, passed, 'REV', 'WITHSCORES')
        local member = found[1]
        if not member or tonumber(found[2]) <= now then
            passed = -1
            break
        end
        if waits_for(member) then
            local id, domain, _, options = split_member(member)
            must('ZADD', key, 'XX', digits(now), member)
            released = released + 1
            first_due, first_due_base = min(first_due or now, now), base
            if id then
                options = read_options(options)
                note_place(base, domain, options.unique, id, place_delayed(options, now, 'r'))
            end
            commit()
        else
            passed = passed + 1
        end
        seen = seen + 1
        bytes = bytes + #member
    end
    return {passed, released}
end

end

-- Makes what it can; says what it could not.
function api.sh_prepare(base)
    local problem
    for _, stream in ipairs(streams_of(base)) do
        local _, refused = try('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
        if refused and not find(refused.err, '^%-?BUSYGROUP') then
            problem = problem or refusal(stream, refused)
        end
    end
    return problem or redis.status_reply('OK')
end

---- entries that nobody will ever run: delivered, as the group has it, and nobody's ----------------
-- (XGROUP DELCONSUMER or SETID, XACK without XDEL, a group made at "$" by another tool.)

do

-- Calls f(stream, entry, fields) for the orphans of a stream between two ids (exclusive, inclusive), and
-- no more once CALL_BYTES went. Returns the bytes, and the last entry that was looked at.
local function orphans_between(stream, low, high, bytes, f)
    while bytes < CALL_BYTES do
        local found = must('XRANGE', stream, '(' .. low, high, 'COUNT', 1)[1]
        if not found then
            break
        end
        low = found[1]
        f(stream, found[1], found[2])
        bytes = bytes + bytes_of(found[2])
    end
    return bytes, low
end

-- Looks through a slice of a stream, from behind `low`: between the running jobs, whose bodies are not
-- read. Returns where to go on, nil at the end.
local function orphans_of(stream, low, f)
    local last = group_of(stream)['last-delivered-id']
    if not last or last == '0-0' or must('XLEN', stream) == 0 then
        return nil
    end
    local held = must('XPENDING', stream, GROUP, '(' .. low, '+', ORPHANS_SLICE) -- else all are nobody's
    local bytes = 0
    for _, row in ipairs(held) do
        bytes, low = orphans_between(stream, low, '(' .. row[1], bytes, f)
        if bytes >= CALL_BYTES then
            return low
        end
        low = row[1]
    end
    if #held == ORPHANS_SLICE then
        return low
    end
    bytes, low = orphans_between(stream, low, last, bytes, f)
    return bytes >= CALL_BYTES and low or nil
end

-- cursor, "0" at first. Returns {cursor, ...}: "" where all three streams were looked through.
local function each_orphan(base, cursor, f)
    local at, low = match(cursor or '', '^([123]) (%d+%-%d+)$')
    at, low = tonumber(at or 1), low or '0-0'
    for i = at, 3 do
        low = orphans_of(streams_of(base)[i], low, f)
        if low then
            return i .. ' ' .. low
        end
        low = '0-0'
    end
    return ''
end

-- How many there are: {cursor, count}.
function api.sh_orphans(base, args)
    local total = 0
    local cursor = each_orphan(base, args[1], function() total = total + 1 end)
    return {cursor, total}
end

-- Puts one back, as it is where it is no job: a worker says then what is wrong with it.
local function adopt(base, stream, entry, fields)
    local job = read_job(stream, entry)
    if job then
        add_again(base, stream, entry, job)
    else
        must_delete(stream)
        local known_fields = {}
        for i = 1, min(#fields, FIELDS_MAX) do
            known_fields[i] = fields[i]
        end
        undo_with('XDEL', stream, must('XADD', stream, '*', unpack(known_fields)))
    end
    must('XDEL', stream, entry)
    return true
end

-- Adds them anew, so that they are run: {cursor, count}.
function api.sh_adopt(base, args)
    local total = 0
    local cursor = each_orphan(base, args[1], function(stream, entry, fields)
        if attempt(adopt, base, stream, entry, fields) then
            total = total + 1
        end
        commit()
    end)
    return {cursor, total}
end

end

-- consumer. Everything that it holds is claimable at once, its last delivery uncounted: for one that does
-- not know what it holds, since the answer that brought it was lost. Returns how many.
function api.sh_yield(base, args)
    local total = 0
    for _, stream in ipairs(streams_of(base)) do
        for _, row in ipairs(try('XPENDING', stream, GROUP, '-', '+', JOBS_MAX, args[1]) or NONE) do
            total = total + #must('XCLAIM', stream, GROUP, args[1], 0, row[1], 'IDLE',
                CLAIMABLE_IDLE_MS, 'RETRYCOUNT', max(row[4] - 1, 0), 'JUSTID')
        end
    end
    return total
end

-- consumer. Returns from how many streams it was removed.
function api.sh_leave(base, args)
    local removed = 0
    for _, stream in ipairs(streams_of(base)) do
        local held = pcall_redis('XPENDING', stream, GROUP, '-', '+', 1, args[1])
        if not held.err and #held == 0 and try('XGROUP', 'DELCONSUMER', stream, GROUP, args[1]) then
            removed = removed + 1
        end
    end
    return removed
end

-- A stream that takes no more entries begins anew where nothing is left in it that could be lost.
local function renew_stream(stream)
    local length, group = try('XLEN', stream), group_of(stream)
    if length == 0 and group.pending == 0 and is_exhausted(stream, length, group)
        and try('DEL', stream) then
        try('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    end
end

-- Counters that are no numbers begin anew.
local function renew_counters(base)
    local key = streams_of(base).counters
    local counted = try('HMGET', key, unpack(COUNTERS))
    for i, name in ipairs(COUNTERS) do
        if counted and counted[i] and not counter_value(counted[i]) then
            attempt(count_anew, key, name, 0, {err = 'not an integer'})
        end
    end
end

-- Removes the consumers of a stream that hold nothing and were idle for so long; their names.
local function reap_stream(stream, idle_ms)
    local names = {}
    local group = group_of(stream)
    if (group.consumers or 0) > REAP_MAX then  -- too many to be listed; who lives comes again by itself
        if group.pending == 0 and try('XGROUP', 'DESTROY', stream, GROUP) then
            try('XGROUP', 'CREATE', stream, GROUP, group['last-delivered-id'])
        end
        return names
    end
    for _, row in ipairs(try('XINFO', 'CONSUMERS', stream, GROUP) or NONE) do
        local consumer = by_name(row)
        if consumer.pending == 0 and consumer.idle >= idle_ms
            and try('XGROUP', 'DELCONSUMER', stream, GROUP, consumer.name) then
            names[#names + 1] = consumer.name
        end
    end
    return names
end

-- idle_ms. Returns how many consumers were removed; mends what heals by itself.
function api.sh_reap(base, args)
    local idle_ms = integer(args[1])
    if not idle_ms then
        return invalid('idle_ms', args[1] or '', 'a whole number of milliseconds')
    end
    local seen, removed = {}, 0
    for _, stream in ipairs(streams_of(base)) do
        for _, name in ipairs(reap_stream(stream, idle_ms)) do
            removed = removed + (seen[name] and 0 or 1)
            seen[name] = true
        end
        renew_stream(stream)
    end
    renew_counters(base)
    return removed
end

---- operators -------------------------------------------------------------------------------------

-- What is wrong with a key that a command was refused on.
local function fault_of(key, kind, problem)
    local found = find(problem.err, 'WRONGTYPE', 1, true) and try('TYPE', key)
    if found then
        return format('key "%s" holds a %s, expected a %s', excerpt(key, 200), found.ok, kind)
    end
    return refusal(key, problem).err
end

-- A stream's jobs: waiting, running, age of the oldest that waits. `fault` is told what is wrong.
local function stream_facts(stream, now, fault)
    local length, problem = try('XLEN', stream)
    if problem then
        fault(fault_of(stream, 'stream', problem))
        return 0, 0, 0
    end
    local group = group_of(stream)
    local after = group['last-delivered-id']
    if is_exhausted(stream, length, group) then
        fault(format('key "%s" takes no more entries: its ids are exhausted', excerpt(stream, 200)))
    end
    local first = try('XRANGE', stream, after and '(' .. after or '-', '+', 'COUNT', 1) or NONE
    return max(length - group.pending, 0), group.pending,
        first[1] and now - tonumber(entry_ms(first[1][1])) or 0
end

-- Names and numbers. What is wrong with a key stands at the end, as a name with the number 1.
function api.sh_stats(base)
    local waiting, running, oldest = 0, 0, 0
    local now = now_ms()
    local faults = {}
    local function fault(text)
        faults[#faults + 1] = text
        faults[#faults + 1] = 1
    end
    local function length_of(command, key, kind)
        local length, problem = try(command, key)
        if problem then
            fault(fault_of(key, kind, problem))
        end
        return length or 0
    end
    for _, stream in ipairs(streams_of(base)) do
        local waits, runs, age = stream_facts(stream, now, fault)
        waiting, running, oldest = waiting + waits, running + runs, max(oldest, age)
    end
    local answer = {
        'waiting', waiting, 'running', running,
        'delayed', length_of('ZCARD', streams_of(base).delayed, 'sorted set'),
        'dead', length_of('XLEN', base .. ':dead', 'stream'), 'paused', is_paused(base) and 1 or 0,
        'oldest_ms', oldest,
    }
    local key = streams_of(base).counters
    local counted, problem = try('HMGET', key, 'adjusted', unpack(COUNTERS))
    if problem then
        fault(fault_of(key, 'hash', problem))
    end
    for i, name in ipairs(COUNTERS) do
        local text = counted and counted[i + 1] or '0'
        local number = counter_value(text)
        if not number then
            fault(format('key "%s" counts "%s" as %s, expected a number from 0 to 2^53',
                excerpt(key, 200), excerpt(text), name))
        end
        answer[#answer + 1] = name
        answer[#answer + 1] = number or 0
    end
    local adjusted = counted and counted[1] or '0'  -- may be less than none
    if not find(adjusted, '^%-?%d+$') or #adjusted > 17 then
        fault(format('key "%s" counts "%s" as adjusted, expected a number', excerpt(key, 200),
            excerpt(adjusted)))
        adjusted = '0'
    end
    answer[#answer + 1] = 'adjusted'
    answer[#answer + 1] = tonumber(adjusted)
    for _, value in ipairs(faults) do
        answer[#answer + 1] = value
    end
    return answer, #faults > 0
end

local function check_entries(args)
    if #args < 1 or #args > JOBS_MAX then
        return invalid('arguments', tostring(#args), '1 to 1000 entry ids')
    end
    for _, entry in ipairs(args) do
        if not find(entry, '^%d+%-%d+$') or #entry > 41 then
            return invalid('entry', entry, 'a stream entry id')
        end
    end
end

-- A letter that finds a twin goes without the key, and asks nothing of it.
local LETTER = {deadline_ms = 1}

-- A dead letter as a new job: attempts 0, no deadline; unique again where no twin is outstanding.
-- Returns its bytes, 0 where it is gone.
local function requeue_letter(base, entry)
    local dead = base .. ':dead'
    local found = must('XRANGE', dead, entry, entry)[1]
    if not found then
        return 0
    end
    local letter = by_name(found[2])
    local text = letter.options or ''
    local id, domain, body = letter.id or '', letter.domain or '', letter.body or ''
    local options = read_options(text)
    local drop = {deadline_ms = true, delay_ms = true, parked = true}
    count_undoably(base, 'requeued', 1)
    local claim, holder
    if options.unique and letter.id then
        claim = new_claim(base, id, domain, {unique = options.unique, priority = options.priority}, body)
        holder = find_twin(base, claim, LETTER)
        drop.unique = holder and holder ~= id or nil
        must_be_writable(claim.key)
    end
    text = edit_options(text, integer(letter.since) and letter.since or entry_ms(entry), drop)
    local stream = stream_for(base, options)
    local added = add_job(stream, id, domain, '0', text, body)
    undo_with('XDEL', stream, added)
    if holder == id then
        note_place(base, domain, options.unique, id, place_in_stream(claim.options, added))
    elseif claim and not holder then
        put_claim(claim, place_in_stream(claim.options, added))
    end
    must('XDEL', dead, entry)
    return bytes_of(found[2])
end

-- entry...: in their order, and no more once CALL_BYTES went. Returns how many: again, with the same
-- entries, until it is 0.
function api.sh_requeue(base, args)
    local problem = check_entries(args)
    if problem then
        return problem
    end
    must_delete(base .. ':dead')
    forget_backlog(streams_of(base))
    local moved, bytes = 0, 0
    for _, entry in ipairs(args) do
        local size, trouble = attempt(requeue_letter, base, entry)
        commit()
        problem = problem or trouble
        if size and size > 0 then
            moved = moved + 1
            bytes = bytes + size
            if bytes >= CALL_BYTES then
                break
            end
        end
    end
    if problem and moved == 0 then
        error(problem)
    end
    return moved
end

function api.sh_discard(base, args)
    local problem = check_entries(args)
    if problem then
        return problem
    end
    count_undoably(base, 'discarded', #args)
    local gone = must('XDEL', base .. ':dead', unpack(args))
    count(base, 'discarded', gone - #args)
    return gone
end

-- Discards up to `most` letters that died before `before_ms`. Whole nodes of the stream go first; what is
-- old in the next one goes where little is left to do.
local function trim_older(key, before_ms, most)
    local gone = must('XTRIM', key, 'MINID', '~', digits(before_ms), 'LIMIT', most)
    if gone < most - NODE_ENTRIES then
        gone = gone + must('XTRIM', key, 'MINID', '=', digits(before_ms))
    end
    return gone
end

-- Discards some letters where all of them are over so many bytes: as many as weigh what is over, as the
-- oldest ones weigh.
local function trim_bytes(key, bytes_max)
    local used = try('MEMORY', 'USAGE', key, 'SAMPLES', '0') or 0
    if used <= bytes_max then
        return 0
    end
    local total = must('XLEN', key)
    local each = max((try('MEMORY', 'USAGE', key, 'SAMPLES', '4') or used) / max(total, 1), 1)
    local some = min(math.ceil((used - bytes_max) / each), TRIM_SLICE, total)
    return must('XTRIM', key, 'MAXLEN', '=', total - some)
end

-- bytes, 0 for no bound: what the backlog may hold, also for those who only enqueue. Kept by the workers.
function api.sh_limit(base, args)
    if not integer(args[1]) then
        return invalid('bytes', args[1] or '', 'a whole number, 0 for no bound')
    end
    local key = base .. ':limits'
    if try('GET', key) ~= args[1] then
        must('SET', key, args[1])
        forget_backlog(streams_of(base))
    end
    return redis.status_reply('OK')
end

-- max_dead older_than_ms [max_bytes], 0 for no bound. Discards what is over either, the oldest first, about 1,000 a
-- call. Returns how many: again until it is 0. (XTRIM looks at no body.)
function api.sh_trim(base, args)
    local most, age, bytes_max = integer(args[1]), integer(args[2]), integer(args[3] or '0')
    if not most or not age or not bytes_max then
        return invalid('arguments', table.concat(args, ' '),
            'max_dead older_than_ms [max_bytes], 0 for no bound')
    end
    local key = base .. ':dead'
    local gone, total = 0, must('XLEN', key)
    if total == 0 then
        return 0
    end
    count_undoably(base, 'discarded', total)
    if most > 0 and total > most then
        gone = must('XTRIM', key, 'MAXLEN', '=', max(most, total - JOBS_MAX))
    end
    if age > 0 and gone < JOBS_MAX then
        gone = gone + trim_older(key, max(now_ms() - age, 0), JOBS_MAX - gone)
    end
    if bytes_max > 0 and gone == 0 then
        gone = trim_bytes(key, bytes_max)
    end
    count(base, 'discarded', gone - total)
    return gone
end

-- Ends a job that an operator does not want: as if it were buried and its letter discarded at once, so
-- that the books balance for older programs too. Who runs it is told that it is lost.
local function purge_job(base, job, text, take)
    count_undoably(base, 'buried', 1)
    count_undoably(base, 'discarded', 1)
    settle_fault(base, job, text)
    take()
    return true
end

-- The first job of a stream, then of delayed. Returns its bytes; nil where there is none.
local function purge_first(base)
    local text = 'purged by an operator'
    for _, stream in ipairs(streams_of(base)) do
        local found = must('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
        if found then
            purge_job(base, by_name(found[2]), text, function()
                must('XDEL', stream, found[1])
                try('XACK', stream, GROUP, found[1])
            end)
            return bytes_of(found[2])
        end
    end
    local key = streams_of(base).delayed
    local member = must('ZRANGE', key, 0, 0)[1]
    if not member then
        return nil
    end
    local id, domain, _, options = split_member(member)
    purge_job(base, {id = id, domain = domain, options = options}, text, function()
        must('ZREM', key, member)
    end)
    return #member
end

-- limit. Takes out up to so many jobs, waiting, running or delayed, and no more once CALL_BYTES went.
-- Returns how many: again until it is 0.
function api.sh_purge(base, args)
    local limit = integer(args[1])
    if not limit or limit < 1 or limit > JOBS_MAX then
        return invalid('limit', args[1] or '', 'a whole number from 1 to 1000')
    end
    local purged, bytes = 0, 0
    forget_backlog(streams_of(base))
    while purged < limit and bytes < CALL_BYTES do
        local size, problem = attempt(purge_first, base)
        commit()
        if problem and purged == 0 then
            error(problem)
        end
        if not size then
            break
        end
        purged, bytes = purged + 1, bytes + size
    end
    return purged
end

-- Puts the books right after an operator's DEL or somebody's junk: dead letters that are gone count as
-- discarded, those that nobody buried as buried, and `adjusted` takes up what the jobs lack or have
-- too many. Returns both differences as they were.
function api.sh_repair(base)
    local flat, has_faults = api.sh_stats(base)
    if has_faults then
        return redis.error_reply('ERR a key of the queue is not what it should be: see verify')
    end
    local facts = by_name(flat)
    local dead = facts.buried - facts.dead - facts.requeued - facts.discarded
    local jobs = facts.enqueued + facts.requeued + facts.adjusted - facts.done - facts.buried
        - facts.expired - facts.waiting - facts.running - facts.delayed
    count(base, dead > 0 and 'discarded' or 'buried', math.abs(dead))
    count(base, 'adjusted', min(dead, 0) == 0 and -jobs or -jobs - dead)
    return {jobs, dead}
end

function api.sh_pause(base, args)
    if args[1] ~= '1' and args[1] ~= '0' then
        return invalid('paused', args[1] or '', '1 or 0')
    end
    if args[1] == '1' then
        must('SET', base .. ':paused', '1')
    else
        must('DEL', base .. ':paused')
        wake(base)
    end
    return redis.status_reply('OK')
end

---- a rate and leases, kept by the whole fleet; their keys are literal ----------------------------

do

-- When the bucket is full again, in us: now, where it is. The value is that time and when it was
-- written; where that is ahead the clock was put back, and the time goes back with it. More than `most`
-- ahead, or no number at all, is nothing that this function wrote.
local function full_at_of(key, now, most)
    local text = sub(try('GET', key) or '', 1, 64)
    local full_at, written = match(text, '^(%d+) ?(%d*)$')
    local ahead = (tonumber(full_at) or 0) - max(tonumber(written) or 0, now)
    return ahead > 0 and ahead <= most and now + ahead or now
end

-- count window_ms cost. A generic cell rate. Returns 0 when `cost` was taken, else how many ms to wait.
-- More than `count` at once needs a full bucket and leaves a debt, of RATE_DEBT windows at most.
function api.sh_rate(key, args)
    local per_window, window_ms, cost = integer(args[1]), integer(args[2]), integer(args[3])
    if not (per_window and window_ms and cost) or per_window < 1 or window_ms < 1
        or cost > RATE_DEBT * per_window then
        return invalid('arguments', table.concat(args, ' '),
            'count window_ms cost, the first two over 0, the last at most 10 times the count')
    end
    if not find(key, ':rate:', 1, true) then
        return invalid('key', key, 'a rate\'s key such as sh:rate:embed')
    end
    local now, window_us = now_us(), window_ms * 1000
    local price = cost * window_us / per_window
    local full_at = full_at_of(key, now, (RATE_DEBT + 1) * window_us) + price
    local wait_us = full_at - now - max(window_us, price)
    if wait_us > 0 then
        return max(math.ceil(wait_us / 1000), 1)
    end
    if full_at > now then
        must('SET', key, digits(full_at) .. ' ' .. digits(now),
            'PX', digits(math.ceil((full_at - now) / 1000) + 1))
    end
    return 0
end

local function check_lease(key, args)
    if #args < 1 or args[1] == '' then
        return invalid('token', args[1] or '', 'the owner\'s name')
    end
    local ttl_ms = integer(args[2])
    if not ttl_ms or ttl_ms < 1 or ttl_ms > LEASE_MAX_MS then
        return invalid('ttl_ms', args[2] or '', 'a whole number of milliseconds from 1 to ' .. LEASE_MAX_MS)
    end
    if not find(key, ':lease:', 1, true) then
        return invalid('key', key, 'a lease\'s key such as sh:lease:chroma:0')
    end
end

-- Who holds a lease; nobody where it is of another type or lives longer than any lease (by hand without
-- an end, or the clock was put back).
local function holder_of(key)
    local holder = try('GET', key)
    local left_ms = holder and try('PTTL', key) or 0
    return left_ms >= 0 and left_ms <= LEASE_MAX_MS and holder or nil
end

-- token ttl_ms. 1 when the lease is the token's now; taking one's own lease again prolongs it. Who is
-- refused first comes next, as long as it goes on asking: a holder that lets go and asks again at
-- once would else keep all others out.
function api.sh_lease_take(key, args)
    local problem = check_lease(key, args)
    if problem then
        return problem
    end
    local token, turn = args[1], key .. ':next'
    local holder, first = holder_of(key), holder_of(turn)
    if holder == token then
        return must('PEXPIRE', key, args[2])
    end
    if not holder and (not first or first == token) then
        must('SET', key, token, 'PX', args[2])
        if first then
            try('DEL', turn)
        end
        return 1
    end
    if not first or first == token then
        must('SET', turn, token, 'PX', LEASE_TURN_MS)
    end
    return 0
end

function api.sh_lease_renew(key, args)
    local problem = check_lease(key, args)
    if problem then
        return problem
    end
    return holder_of(key) == args[1] and must('PEXPIRE', key, args[2]) or 0
end

-- token
function api.sh_lease_release(key, args)
    if not find(key, ':lease:', 1, true) then
        return invalid('key', key, 'a lease\'s key such as sh:lease:chroma:0')
    end
    return try('GET', key) == args[1] and must('DEL', key) or 0
end

end

---- who is alive ----------------------------------------------------------------------------------

-- A write to a key that only tells something: what is of another type there makes way.
local function tell(command, key, ...)
    local answer, problem = try(command, key, ...)
    if problem then
        must('DEL', key)
        answer = must(command, key, ...)
    end
    return answer
end

-- id ttl_ms now_ms field value ...; the key is "sh:workers". A worker lives for ttl_ms from now: the
-- members of the set are all who did in the last hour, and a hash of its own tells of each, never without
-- its end. now_ms is Redis' time as the worker knows it; 0: it wants to be told, and how many live.
-- Returns {workers alive or 0, now_ms}.
function api.sh_register(key, args)
    local ttl_ms, now = integer(args[2]), integer(args[3])
    if #args < 5 or #args % 2 == 0 or #args > 2 * FIELDS_MAX or not now or not ttl_ms or ttl_ms < 1 then
        return invalid('arguments', tostring(#args), 'id ttl_ms now_ms field value ...')
    end
    local asked = now == 0
    if asked then
        now = now_ms()
    end
    local hash = sub(key, 1, -2) .. ':' .. args[1]
    tell('HSET', hash, unpack(args, 4))
    undo_with('DEL', hash)
    must('PEXPIRE', hash, digits(ttl_ms))
    tell('ZADD', key, digits(now), args[1])
    return {asked and must('ZCOUNT', key, digits(now - ttl_ms), '+inf') or 0, now}
end

-- id seats ttl_ms; the key is the set of those who sit. Of a large fleet only some block on its streams,
-- since every entry that is added is looked at for each of them. 1 when the worker has a seat for ttl_ms.
function api.sh_seat(key, args)
    local seats, ttl_ms = integer(args[2]), integer(args[3])
    if #args ~= 3 or not seats or not ttl_ms or ttl_ms < 1 or ttl_ms > LEASE_MAX_MS then
        return invalid('arguments', tostring(#args), 'id seats ttl_ms')
    end
    local now = now_ms()
    if not try('ZSCORE', key, args[1]) then
        if (try('ZCOUNT', key, digits(now), '+inf') or 0) >= seats then
            return 0
        end
        try('ZREMRANGEBYSCORE', key, '-inf', digits(now))
    end
    tell('ZADD', key, digits(now + ttl_ms), args[1])
    must('PEXPIRE', key, digits(ttl_ms))
    return 1
end

function api.sh_version()
    return VERSION
end

---- registration ----------------------------------------------------------------------------------

local function register(name, callback, flags)
    redis.register_function{
        function_name = name,
        flags = flags,
        callback = function(keys, args)
            if not call then
                bind()
            end
            if #keys ~= 1 then
                return invalid('keys', tostring(#keys), 'one key')
            end
            looked_bytes = 0
            local answer = callback(keys[1], args)
            wake_if_first()
            return answer
        end,
    }
end

-- A function whose writes are taken back where it fails.
local function whole(f)
    return function(key, args)
        local answer, problem = attempt(f, key, args)
        commit()
        return answer or problem
    end
end

-- What ends jobs, keeps them alive or makes room must work when Redis is out of memory.
local OOM = {'allow-oom'}

redis.register_function{function_name = 'sh_version', callback = api.sh_version, flags = {'no-writes'}}
register('sh_enqueue', api.sh_enqueue)
register('sh_push', api.sh_push)
register('sh_stats', api.sh_stats, {'no-writes'})
register('sh_finish', whole(api.sh_finish), OOM)
register('sh_done', api.sh_done, OOM)
register('sh_retry', whole(api.sh_retry), OOM)  -- what it adds it takes from the stream; so does sh_bury
register('sh_park', whole(api.sh_retry), OOM)
register('sh_bury', whole(api.sh_bury), OOM)
register('sh_reply', whole(api.sh_reply), OOM)
register('sh_release', whole(api.sh_release), OOM)
register('sh_heartbeat', whole(api.sh_heartbeat), OOM)
register('sh_reclaim', whole(api.sh_reclaim), OOM)
register('sh_promote', whole(api.sh_promote))
register('sh_parked', api.sh_parked, {'no-writes'})
register('sh_unpark', whole(api.sh_unpark), OOM)
register('sh_prepare', api.sh_prepare, OOM)
register('sh_yield', whole(api.sh_yield), OOM)
register('sh_leave', api.sh_leave, OOM)
register('sh_reap', whole(api.sh_reap), OOM)
register('sh_requeue', whole(api.sh_requeue))
register('sh_discard', whole(api.sh_discard), OOM)
register('sh_trim', whole(api.sh_trim), OOM)
register('sh_limit', whole(api.sh_limit), OOM)
register('sh_orphans', api.sh_orphans, {'no-writes'})
register('sh_adopt', whole(api.sh_adopt), OOM)
register('sh_purge', whole(api.sh_purge), OOM)
register('sh_repair', whole(api.sh_repair), OOM)
register('sh_pause', api.sh_pause, OOM)
register('sh_rate', api.sh_rate, OOM)
register('sh_lease_take', api.sh_lease_take, OOM)
register('sh_lease_renew', api.sh_lease_renew, OOM)
register('sh_lease_release', api.sh_lease_release, OOM)
register('sh_register', whole(api.sh_register), OOM)
register('sh_seat', whole(api.sh_seat), OOM)
