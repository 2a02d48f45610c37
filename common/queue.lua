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

There is no rollback in Redis: whatever can be wrong is checked before the first write.
Functions are only added or extended, never changed in meaning; VERSION grows with every change. ]]

local VERSION = 5

local GROUP = 'fleet'
local JOBS_MAX = 1000
local BODY_MAX = 16 * 1024 * 1024
local PUSH_BACKLOG = 100000
local LEASE_TURN_MS = 50
local UNIQUE_TTL_MS = 24 * 60 * 60 * 1000
local REPLY_TTL_MS = 5 * 60 * 1000
local ERROR_MAX = 1000
local FIELDS_MAX = 64  -- values of a foreign entry that a dead letter keeps; unpack() has a limit
local FENCE_SLACK = 16
local NODE_ENTRIES = 100  -- of a stream's node, by default
local SUSPECT_AFTER = 2  -- deliveries without an end
local KNOWN_MAX = 64
local RECOUNT_AFTER = 250  -- jobs
local NEAR_LIMIT = 1000
-- Redis serves nobody else while a call runs, and a body that passes through Lua costs it some 10 ms a
-- MiB: a call that moves bodies ends once it moved so many.
local CALL_BYTES = 1024 * 1024
local LOST, MOVED, WANTED = 0, 1, 2
local FLAG_EXPIRED, FLAG_REPLY = 1, 2

-- While a library is loaded it may use nothing but redis.register_function; these are bound when a
-- function runs first.
local call, pcall_redis, find, match, gmatch, sub, format, floor, min, max

local function bind()
    call, pcall_redis = redis.call, redis.pcall
    find, match, gmatch, sub = string.find, string.match, string.gmatch, string.sub
    format, floor, min, max = string.format, math.floor, math.min, math.max
end

---- small things ----------------------------------------------------------------------------------

-- Foreign bytes as they may stand in an error reply.
local function excerpt(value)
    local text = string.gsub(sub(value, 1, 48), '[^ -~]', '?')
    return #value > 48 and text .. '...' or text
end

local function invalid(field, value, expected)
    return redis.error_reply(
        format('SHINVALID %s "%s": expected %s', excerpt(field), excerpt(value), expected))
end

local function integer(text)
    return text and find(text, '^%d+$') and #text <= 15 and tonumber(text) or nil
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

local STREAM_OF = {high = 1, normal = 2, low = 3}

local function count(base, counter, by)
    if by > 0 then
        call('HINCRBY', streams_of(base).counters, counter, by == 1 and '1' or by)  -- printing is dear
    end
end

local function is_paused(base)
    return call('EXISTS', base .. ':paused') == 1
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
    delay_ms = {integer, 'a whole number of milliseconds'},
    deadline_ms = {
        function(v) local n = integer(v) return n and n > 0 and n or nil end,
        'Unix milliseconds',
    },
    unique = {
        function(v) return #v <= 256 and find(v, '^[^%c ]+$') and v or nil end,
        '1 to 256 bytes without spaces and control characters',
    },
    reply = {function(v) return v == '1' or nil end, '1'},
    traceparent = {
        function(v) return #v <= 128 and find(v, '^[!-~]+$') and v or nil end,
        '1 to 128 printable characters without spaces',
    },
    since = {integer, 'Unix milliseconds'},
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
        local stop = find(text, ' ', position, true)
        local pair = sub(text, position, stop and stop - 1 or -1)
        local key, value = match(pair, '^([^=]+)=(.*)$')
        if not key then
            return nil, invalid('options', text, 'key=value pairs separated by one space')
        end
        if options[key] ~= nil then
            return nil, invalid('option', key, 'it once')
        end
        local parsed, problem = check_option(key, value)
        if problem then
            return nil, problem
        end
        options[key] = parsed
        position = stop and stop + 1
    until not position
    return options
end

-- Lenient, for what already stands in Redis: everything by name, as text.
local function read_options(text)
    local options = {}
    for key, value in gmatch(text or '', '([^ =]+)=([^ ]*)') do
        options[key] = value
    end
    return options
end

-- The options without the keys in `drop`, and with `since` where there was none.
local function edit_options(text, since, drop)
    local kept = {}
    local has_since = false
    for pair in gmatch(text, '[^ ]+') do
        local key = match(pair, '^[^=]*')
        if not (drop and drop[key]) then
            kept[#kept + 1] = pair
            has_since = has_since or key == 'since'
        end
    end
    if not has_since then
        kept[#kept + 1] = 'since=' .. since
    end
    return table.concat(kept, ' ')
end

local function stream_for(base, options)
    return streams_of(base)[STREAM_OF[options.priority] or STREAM_OF.normal]
end

local function add_job(stream, id, domain, attempt, options, body)
    return call('XADD', stream, '*', 'id', id, 'domain', domain, 'attempt', attempt,
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
    local found = call('XRANGE', stream, entry, entry)[1]
    if not found then
        return nil, nil
    end
    local job = by_name(found[2])
    if job.id and is_id(job.id) and job.domain and is_domain(job.domain) and integer(job.attempt)
        and job.options and not find(job.options, '%c') and job.body then
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

local function entry_ms(entry)
    return match(entry, '^%d+')
end

---- delayed: "<id> <domain> <attempt> <options>\n<body>", scored by its due time ------------------

local copies = 0

-- Adds the whole job as one member. A set holds a member once: where the very same job stands there
-- already, `since` gets a serial behind a point while it is delayed ("since=1700000000000.17"), so that
-- none is swallowed. (A step of 1 ms instead cost n^2 / 2 tries for n copies, 10 s for 6,000.)
local function delay_job(base, due, id, domain, attempt, options, body, since)
    local key = base .. ':delayed'
    local score = digits(due)
    local head = id .. ' ' .. domain .. ' ' .. attempt .. ' '
    local text = edit_options(options, since)
    if call('ZADD', key, 'NX', score, head .. text .. '\n' .. body) == 1 then
        return
    end
    local first = integer(read_options(text).since) or since
    local moment = digits(now_us())  -- serials begin anew when the library is loaded anew
    repeat
        copies = copies + 1
        text = edit_options(text, first .. '.' .. copies .. moment, {since = true})
    until call('ZADD', key, 'NX', score, head .. text .. '\n' .. body) == 1
end

-- A delayed member's options as its job gets them back: without the serial.
local function plain_since(options)
    return (string.gsub(options, '(since=%d+)%.%d+', '%1'))
end

---- unique keys and replies -----------------------------------------------------------------------

-- The one place that names a unique key. A query's key, <query_hash>.<k>, counts per domain.
local function unique_key(base, domain, unique)
    if #unique > 33 and find(unique, '^[0-9a-f]+%.%d+$') and sub(unique, 33, 33) == '.' then
        return base .. ':unique:' .. domain .. ':' .. unique
    end
    return base .. ':unique:' .. unique
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
    local key = unique_key(base, domain, unique)
    if call('GET', key) == id then
        return call('DEL', key, wanted_key(base, id)) == 2
    end
    return call('DEL', wanted_key(base, id)) == 1
end

local function push_reply(base, id, reply)
    local key = base .. ':reply:' .. id
    call('DEL', key)
    call('RPUSH', key, reply)
    call('PEXPIRE', key, REPLY_TTL_MS)
end

-- The end of a job for those who wait for it: its fate.
local function settle(base, id, domain, unique, replies, reply)
    local wanted = release_unique(base, domain, unique, id)
    if replies then
        push_reply(base, id, reply)
        return MOVED
    end
    return wanted and WANTED or MOVED
end

---- producers -------------------------------------------------------------------------------------

local function backlog_of(streams)
    return call('ZCARD', streams.delayed) + call('XLEN', streams[1]) + call('XLEN', streams[2])
        + call('XLEN', streams[3])
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
    end
    streams.uncounted = streams.uncounted + total
    streams.bound = bound + total
    return backlog_max - bound
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

-- Who holds the unique key: takes it for `id` where it is free and there is room.
local function take_unique(base, id, domain, options, full)
    local key = unique_key(base, domain, options.unique)
    local ttl = UNIQUE_TTL_MS + (options.delay_ms or 0)
    local holder
    if full then
        holder = call('GET', key)
    else
        holder = call('SET', key, id, 'NX', 'GET', 'PX', digits(ttl))
    end
    if holder and holder ~= id and options.reply then
        call('SET', wanted_key(base, holder), '1', 'PX', digits(ttl))
    end
    return holder
end

local function add_new(base, streams, id, domain, text, options, body)
    if options.delay_ms and options.delay_ms > 0 then
        local now = now_ms()
        delay_job(base, now + options.delay_ms, id, domain, '0', text, body, digits(now))
    else
        add_job(streams[STREAM_OF[options.priority] or 2], id, domain, '0', text, body)
    end
end

-- The usual case, and half of an enqueue's cost is Lua: jobs without options, room for all.
local function enqueue_plain(base, stream, args, first, total)
    local answers = {}
    local at = first
    for i = 1, total do
        local id = args[at]
        add_job(stream, id, args[at + 1], '0', '', args[at + 3])
        answers[i] = id
        at = at + 4
    end
    count(base, 'enqueued', total)
    return answers
end

local NONE = {}

-- Adds `total` checked jobs, four values each from args[first] on; parsed[i] are their options, NONE
-- where no job has any.
local function enqueue(base, backlog_max, args, first, total, parsed)
    local streams = streams_of(base)
    local room = room_for(streams, backlog_max, total)
    if total <= room and parsed == NONE then
        return enqueue_plain(base, streams[2], args, first, total)
    end
    local answers = {}
    local added, twins, refused = 0, 0, 0
    for i = 1, total do
        local at = first + 4 * (i - 1)
        local id, domain, options = args[at], args[at + 1], parsed[i]
        local holder = options and options.unique
            and take_unique(base, id, domain, options, added >= room)
        if holder then
            twins = twins + 1
            answers[i] = holder
        elseif added >= room then
            refused = refused + 1
            answers[i] = 'FULL'
        else
            add_new(base, streams, id, domain, args[at + 2], options or NONE, args[at + 3])
            added = added + 1
            answers[i] = id
        end
    end
    count(base, 'enqueued', added)
    count(base, 'deduplicated', twins)
    count(base, 'refused', refused)
    return answers
end

local function sh_enqueue(base, args)
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
        end
        if problem then
            return problem
        end
    end
    return enqueue(base, good_limit_number, args, 2, total, parsed)
end

---- push: the same for a human --------------------------------------------------------------------

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
    if #args == 0 or #args % 2 == 1 then
        return nil, invalid('arguments', tostring(#args), 'pairs of a field and its value')
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

local function sh_push(base, args)
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
    local counted = call('HMGET', base .. ':counters', 'enqueued', 'deduplicated')
    local serial = (tonumber(counted[1]) or 0) + (tonumber(counted[2]) or 0)
    local id = format('push-%x-%d', now_us(), serial)
    problem = check_job(id, domain, body)
    if problem then
        return problem
    end
    local answer = enqueue(base, PUSH_BACKLOG, {id, domain, text, body}, 1, 1, {options})[1]
    if answer == 'FULL' then
        return redis.error_reply(format('SHFULL queue "%s": %d jobs wait already', base, PUSH_BACKLOG))
    end
    return answer
end

---- the fence -------------------------------------------------------------------------------------

-- What `consumer` holds between two entries: delivery counts by entry. NOGROUP: nothing.
local function pending_between(stream, consumer, low, high, limit)
    local rows = pcall_redis('XPENDING', stream, GROUP, low, high, limit, consumer)
    if rows.err then
        return is_nogroup(rows) and {} or nil, rows
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
-- deliveries, are this consumer's with that very delivery count: an array of booleans, and the
-- stream keys. An entry that is named twice is its only once.
local function fence(base, consumer, args, first, stride)
    local total = (#args - first + 1) / stride
    if total ~= floor(total) or total < 1 or total > JOBS_MAX then
        return nil, invalid('arguments', tostring(#args), stride .. ' for each of 1 to 1000 jobs')
    end
    local streams = streams_of(base)
    local entries = {{}, {}, {}}
    for i = first, #args, stride do
        local list = entries[(tonumber(args[i]) or -1) + 1]
        if not list then
            return nil, invalid('stream', args[i], '0, 1 or 2')
        end
        if not find(args[i + 1], '^%d+%-%d+$') or #args[i + 1] > 41 then
            return nil, invalid('entry', args[i + 1], 'a stream entry id')
        end
        list[#list + 1] = args[i + 1]
    end
    local held = {{}, {}, {}}
    for s = 1, 3 do
        if #entries[s] > 0 then
            local problem
            held[s], problem = held_of(streams[s], consumer, entries[s])
            if problem then
                return nil, problem
            end
        end
    end
    local ours = {}
    for j = 1, total do
        local at = first + stride * (j - 1)
        local mine = held[tonumber(args[at]) + 1]
        ours[j] = mine[args[at + 1]] ~= nil and mine[args[at + 1]] == tonumber(args[at + 2])
        if ours[j] then
            mine[args[at + 1]] = nil
        end
    end
    return ours, streams
end

-- Takes entries out of the group and out of the stream. Returns how many were really pending.
local function remove(stream, entries)
    if #entries == 0 then
        return 0
    end
    local acked = call('XACK', stream, GROUP, unpack(entries))
    call('XDEL', stream, unpack(entries))
    return acked
end

---- the fleet: how a running job ends -------------------------------------------------------------

-- consumer, then for each job: stream entry deliveries id domain unique flags reply
local function sh_finish(base, args)
    local ours, streams = fence(base, args[1], args, 2, 8)
    if not ours then
        return streams
    end
    local done, expired = {{}, {}, {}}, {{}, {}, {}}
    local fates = {}
    for j = 1, #ours do
        local at = 8 * j - 6
        fates[j] = LOST
        if ours[j] then
            local flags = tonumber(args[at + 6]) or 0
            local list = (flags % 2 == FLAG_EXPIRED and expired or done)[tonumber(args[at]) + 1]
            list[#list + 1] = args[at + 1]
            fates[j] = settle(base, args[at + 3], args[at + 4], args[at + 5],
                flags >= FLAG_REPLY, args[at + 7])
        end
    end
    local done_count, expired_count = 0, 0
    for s = 1, 3 do
        done_count = done_count + remove(streams[s], done[s])
        expired_count = expired_count + remove(streams[s], expired[s])
    end
    count(base, 'done', done_count)
    count(base, 'expired', expired_count)
    return fates
end

-- consumer stream deliveries entry...: ends jobs of one stream that nobody waits for (no unique key, no
-- reply) and that were handed out equally often: nearly every job, for a quarter of the arguments.
-- Returns how many; where some are not this consumer's any more, the fate of each instead.
local function sh_done(base, args)
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
    local total, mine = #entries, 0
    for i = 1, total do
        if held[entries[i]] == deliveries then
            mine = mine + 1
        end
    end
    if mine == total then  -- as it nearly always is
        local done = remove(stream, entries)
        count(base, 'done', done)
        if done == total then
            return done
        end
    end
    local fates, ours = {}, {}
    for i = 1, total do
        local entry = entries[i]
        fates[i] = held[entry] == deliveries and MOVED or LOST
        if fates[i] == MOVED then
            ours[#ours + 1] = entry
            held[entry] = nil  -- one that is named twice is its only once
        end
    end
    if mine < total then
        count(base, 'done', remove(stream, ours))
    end
    return fates
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

-- consumer, then for each job: stream entry deliveries delay_ms parked, which is 0 or as in is_parked
local function sh_retry(base, args)
    local ours, streams = fence(base, args[1], args, 2, 5)
    if not ours then
        return streams
    end
    local now = now_ms()
    local moved = {[true] = 0, [false] = 0}
    local fates = {}
    for j = 1, #ours do
        local at = 5 * j - 3
        local stream, entry, parked = streams[tonumber(args[at]) + 1], args[at + 1], is_parked(args[at + 4])
        local job = ours[j] and read_job(stream, entry)
        fates[j] = job and MOVED or LOST
        if job then
            local delay = integer(args[at + 3]) or 0
            local attempt = tonumber(job.attempt) + (parked and 0 or 1)
            local options = remember_parked(job.options, entry_ms(entry), args[at + 4], now)
            delay_job(base, now + delay, job.id, job.domain, digits(attempt), options, job.body,
                entry_ms(entry))
            local unique = read_options(job.options).unique
            if unique and call('GET', unique_key(base, job.domain, unique)) == job.id then
                call('PEXPIRE', unique_key(base, job.domain, unique), digits(UNIQUE_TTL_MS + delay))
            end
            moved[parked] = moved[parked] + remove(stream, {entry})
        end
    end
    count(base, 'retried', moved[false])
    count(base, 'parked', moved[true])
    return fates
end

-- Writes the dead letter of an entry's fields. `attempts` counts this failure too, except for a job
-- that nobody ever said no to (crash_loop).
local function add_dead(base, fields, entry, reason, text, deliveries, worker)
    local job = by_name(fields)
    local attempt = integer(job.attempt) or 0
    local letter = {}
    for i = 1, min(#fields, FIELDS_MAX) do
        letter[i] = fields[i]
    end
    local facts = {
        'reason', reason, 'error', sub(text, 1, ERROR_MAX),
        'attempts', digits(reason == 'crash_loop' and attempt or attempt + 1),
        'deliveries', digits(deliveries), 'died', digits(now_ms()), 'worker', worker,
    }
    if entry and not read_options(job.options).since then
        facts[#facts + 1] = 'since'
        facts[#facts + 1] = entry_ms(entry)
    end
    for _, value in ipairs(facts) do
        letter[#letter + 1] = value
    end
    call('XADD', base .. ':dead', '*', unpack(letter))
    return job
end

-- consumer, worker, then for each job: stream entry deliveries reason error flags reply
local function sh_bury(base, args)
    local ours, streams = fence(base, args[1], args, 3, 7)
    if not ours then
        return streams
    end
    local buried = 0
    local fates = {}
    for j = 1, #ours do
        local at = 7 * j - 4
        local stream, entry = streams[tonumber(args[at]) + 1], args[at + 1]
        local _, fields
        if ours[j] then
            _, fields = read_job(stream, entry)
        end
        fates[j] = LOST
        if fields then
            local job = add_dead(base, fields, entry, args[at + 3], args[at + 4],
                tonumber(args[at + 2]), args[2])
            buried = buried + remove(stream, {entry})
            local flags = tonumber(args[at + 5]) or 0
            fates[j] = settle(base, job.id or '', job.domain or '', read_options(job.options).unique,
                flags >= FLAG_REPLY and job.id ~= nil, args[at + 6])
        end
    end
    count(base, 'buried', buried)
    return fates
end

-- id, reply: for an asker that came after the job's own end was decided (WANTED).
local function sh_reply(base, args)
    if #args ~= 2 or not is_id(args[1]) then
        return invalid('arguments', tostring(#args), 'a job id and its reply')
    end
    push_reply(base, args[1], args[2])
    return redis.status_reply('OK')
end

local function release_again(stream, entry)
    local job = read_job(stream, entry)
    if not job then
        return 0
    end
    add_job(stream, job.id, job.domain, job.attempt, edit_options(job.options, entry_ms(entry)), job.body)
    return remove(stream, {entry})
end

-- consumer, visibility_ms, again, then for each job: stream entry deliveries. Returns how many.
local function sh_release(base, args)
    local ours, streams = fence(base, args[1], args, 4, 3)
    if not ours then
        return streams
    end
    if not integer(args[2]) then
        return invalid('visibility_ms', args[2], 'a whole number of milliseconds')
    end
    local released = 0
    for j = 1, #ours do
        local at = 3 * j + 1
        local stream, entry = streams[tonumber(args[at]) + 1], args[at + 1]
        if ours[j] and args[3] == '1' then
            released = released + release_again(stream, entry)
        elseif ours[j] then
            local deliveries = max(tonumber(args[at + 2]) - 1, 0)
            released = released + #call('XCLAIM', stream, GROUP, args[1], 0, entry, 'IDLE', args[2],
                'RETRYCOUNT', deliveries, 'JUSTID')
        end
    end
    return released
end

-- consumer, then for each job: stream entry deliveries. Returns how many are still this consumer's.
local function sh_heartbeat(base, args)
    local ours, streams = fence(base, args[1], args, 2, 3)
    if not ours then
        return streams
    end
    local entries = {{}, {}, {}}
    for j = 1, #ours do
        if ours[j] then
            local list = entries[tonumber(args[3 * j - 1]) + 1]
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

---- the janitor -----------------------------------------------------------------------------------

-- What the black box says of a job: the phase its last lane was in, and that lane's consumer name.
-- Written by lanes for jobs that were taken over ("upsert host-7-3f.2"), see workers/blackbox.h.
local function last_phase(base, id)
    local text = id and call('GET', base .. ':phase:' .. id)
    if text then
        call('DEL', base .. ':phase:' .. id)
        return match(text, '^(%l+) (.+)$')
    end
end

-- Buries an entry that was handed out too often.
local function bury_crash_loop(base, stream, entry, fields, deliveries, worker)
    local phase, last = last_phase(base, by_name(fields).id)
    local text = format('handed out %d times without an end', deliveries)
    if phase then
        text = format('%s; the last worker, "%s", died in phase "%s"', text, last, phase)
        worker = last
    end
    local job = add_dead(base, fields, entry, 'crash_loop', text, deliveries, worker)
    if job.id then
        release_unique(base, job.domain or '', read_options(job.options).unique, job.id)
    end
    return remove(stream, {entry})
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
local function leave_idle(stream, consumer, entries, visibility_ms)
    if #entries > 0 then
        local claim = {'XCLAIM', stream, GROUP, consumer, 0, unpack(entries)}
        for _, word in ipairs({'IDLE', visibility_ms, 'JUSTID'}) do
            claim[#claim + 1] = word
        end
        call(unpack(claim))
    end
end

-- Buries entries, and no more once CALL_BYTES went. Returns how many, and how many were looked at.
local function bury_all(base, stream, entries, held, worker)
    local buried, bytes, seen = 0, 0, 0
    while seen < #entries and bytes < CALL_BYTES do
        seen = seen + 1
        local entry = entries[seen]
        local found = call('XRANGE', stream, entry, entry)[1]
        if found then
            buried = buried + bury_crash_loop(base, stream, entry, found[2], held[entry] or 1, worker)
            bytes = bytes + bytes_of(found[2])
        end
    end
    return buried, seen, bytes
end

-- Appends the entries with their deliveries and fields to the answer, and no more once CALL_BYTES went,
-- with `bytes` that went before. Returns how many were looked at.
local function claim_all(stream, consumer, entries, held, bytes, answer)
    local seen = 0
    while seen < #entries and bytes < CALL_BYTES do
        seen = seen + 1
        local entry = entries[seen]
        local found = call('XCLAIM', stream, GROUP, consumer, 0, entry)[1]
        if found then
            answer[#answer + 1] = {entry, (held[entry] or 1) + 1, found[2]}
            bytes = bytes + bytes_of(found[2])
        end
    end
    return seen
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
local function sh_reclaim(base, args)
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
        return is_nogroup(claimed) and {'0-0', 0} or claimed
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
    local buried, bury_seen, bytes = bury_all(base, stream, bury, held, args[3])
    local take_seen = claim_all(stream, args[2], take, held, bytes, answer)
    local first = put_off(take, take_seen, leave, put_off(bury, bury_seen, leave))
    leave_idle(stream, args[2], leave, args[4])
    answer[1] = first or answer[1]
    answer[2] = buried
    count(base, 'buried', buried)
    count(base, 'reclaimed', #answer - 2)
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
    local id, domain, attempt, options, body = split_member(member)
    if not id then
        add_dead(base, {'body', member}, nil, 'malformed', 'delayed member without a job\'s head', 0, '')
        count(base, 'buried', 1)
        return
    end
    options = plain_since(options)
    add_job(stream_for(base, read_options(options)), id, domain, attempt, options, body)
end

-- limit. Moves up to `limit` jobs, and no more once CALL_BYTES went. Returns {moved, ms until the next
-- is due or -1}: 0 where more are due. One member at a time: how large the next one is nobody knows.
local function sh_promote(base, args)
    local limit = integer(args[1])
    if not limit or limit < 1 or limit > JOBS_MAX then
        return invalid('limit', args[1] or '', 'a whole number from 1 to 1000')
    end
    if is_paused(base) then
        return {0, -1}
    end
    local key = base .. ':delayed'
    local now = now_ms()
    local moved, bytes = 0, 0
    while moved < limit and bytes < CALL_BYTES do
        local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
        local member, due = first[1], first[2] and floor(tonumber(first[2]))
        if not member or due > now then
            return {moved, member and due - now or -1}
        end
        promote_member(base, member)
        call('ZREM', key, member)
        moved = moved + 1
        bytes = bytes + #member
    end
    local next_one = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return {moved, next_one[2] and max(floor(tonumber(next_one[2])) - now, 0) or -1}
end

local function sh_prepare(base)
    for _, stream in ipairs(streams_of(base)) do
        local made = pcall_redis('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
        if type(made) == 'table' and made.err and not find(made.err, '^%-?BUSYGROUP') then
            return made
        end
    end
    return redis.status_reply('OK')
end

-- consumer. Returns from how many streams it was removed.
local function sh_leave(base, args)
    local removed = 0
    for _, stream in ipairs(streams_of(base)) do
        local held = pcall_redis('XPENDING', stream, GROUP, '-', '+', 1, args[1])
        if held.err and not is_nogroup(held) then
            return held
        end
        if not held.err and #held == 0 then
            call('XGROUP', 'DELCONSUMER', stream, GROUP, args[1])
            removed = removed + 1
        end
    end
    return removed
end

-- idle_ms. Returns how many consumers were removed.
local function sh_reap(base, args)
    local idle_ms = integer(args[1])
    if not idle_ms then
        return invalid('idle_ms', args[1] or '', 'a whole number of milliseconds')
    end
    local names, removed = {}, 0
    for _, stream in ipairs(streams_of(base)) do
        local consumers = pcall_redis('XINFO', 'CONSUMERS', stream, GROUP)
        for _, row in ipairs(consumers.err and {} or consumers) do
            local consumer = by_name(row)
            if consumer.pending == 0 and consumer.idle >= idle_ms then
                call('XGROUP', 'DELCONSUMER', stream, GROUP, consumer.name)
                removed = removed + (names[consumer.name] and 0 or 1)
                names[consumer.name] = true
            end
        end
    end
    return removed
end

---- operators -------------------------------------------------------------------------------------

local COUNTERS = {
    'enqueued', 'deduplicated', 'refused', 'done', 'retried', 'buried', 'expired', 'reclaimed',
    'requeued', 'discarded', 'parked',
}

-- The group's facts, {pending = 0} where there is no stream or no group.
local function group_of(stream)
    local groups = pcall_redis('XINFO', 'GROUPS', stream)
    for _, row in ipairs(groups.err and {} or groups) do
        local group = by_name(row)
        if group.name == GROUP then
            return group
        end
    end
    return {pending = 0}
end

local function sh_stats(base)
    local waiting, running, oldest = 0, 0, 0
    local now = now_ms()
    for _, stream in ipairs(streams_of(base)) do
        local group = group_of(stream)
        local after = group['last-delivered-id']
        waiting = waiting + max(call('XLEN', stream) - group.pending, 0)
        running = running + group.pending
        local first = call('XRANGE', stream, after and '(' .. after or '-', '+', 'COUNT', 1)[1]
        if first then
            oldest = max(oldest, now - tonumber(entry_ms(first[1])))
        end
    end
    local answer = {
        'waiting', waiting, 'running', running, 'delayed', call('ZCARD', base .. ':delayed'),
        'dead', call('XLEN', base .. ':dead'), 'paused', is_paused(base) and 1 or 0,
        'oldest_ms', oldest,
    }
    local counted = call('HMGET', base .. ':counters', unpack(COUNTERS))
    for i, name in ipairs(COUNTERS) do
        answer[#answer + 1] = name
        answer[#answer + 1] = tonumber(counted[i]) or 0
    end
    return answer
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

-- A dead letter as a new job: attempts 0, no deadline; unique again where no twin is outstanding.
local function requeue_letter(base, entry, letter)
    local text = letter.options or ''
    local options = read_options(text)
    local drop = {deadline_ms = true, delay_ms = true, parked = true}
    if options.unique and letter.id then
        local holder = take_unique(base, letter.id, letter.domain or '', {unique = options.unique}, false)
        drop.unique = holder and holder ~= letter.id or nil
    end
    text = edit_options(text, integer(letter.since) and letter.since or entry_ms(entry), drop)
    add_job(stream_for(base, options), letter.id or '', letter.domain or '', '0', text, letter.body or '')
end

-- entry...: in their order, and no more once CALL_BYTES went. Returns how many: again, with the same
-- entries, until it is 0.
local function sh_requeue(base, args)
    local problem = check_entries(args)
    if problem then
        return problem
    end
    local key, moved, bytes = base .. ':dead', 0, 0
    streams_of(base).bound = nil
    for _, entry in ipairs(args) do
        local found = call('XRANGE', key, entry, entry)[1]
        if found then
            requeue_letter(base, entry, by_name(found[2]))
            call('XDEL', key, entry)
            moved = moved + 1
            bytes = bytes + bytes_of(found[2])
            if bytes >= CALL_BYTES then
                break
            end
        end
    end
    count(base, 'requeued', moved)
    return moved
end

local function sh_discard(base, args)
    local problem = check_entries(args)
    if problem then
        return problem
    end
    local gone = call('XDEL', base .. ':dead', unpack(args))
    count(base, 'discarded', gone)
    return gone
end

-- Discards up to `most` letters that died before `before_ms`. Whole nodes of the stream go first; what is
-- old in the next one goes where little is left to do.
local function trim_older(key, before_ms, most)
    local gone = call('XTRIM', key, 'MINID', '~', digits(before_ms), 'LIMIT', most)
    if gone < most - NODE_ENTRIES then
        gone = gone + call('XTRIM', key, 'MINID', '=', digits(before_ms))
    end
    return gone
end

-- max_dead older_than_ms, 0 for no bound. Discards what is over either, the oldest first, about 1,000 a
-- call. Returns how many: again until it is 0. (XTRIM looks at no body.)
local function sh_trim(base, args)
    local most, age = integer(args[1]), integer(args[2])
    if not most or not age then
        return invalid('arguments', table.concat(args, ' '), 'max_dead older_than_ms, 0 for no bound')
    end
    local key = base .. ':dead'
    local gone, total = 0, call('XLEN', key)
    if most > 0 and total > most then
        gone = call('XTRIM', key, 'MAXLEN', '=', max(most, total - JOBS_MAX))
    end
    if age > 0 and gone < JOBS_MAX then
        gone = gone + trim_older(key, max(now_ms() - age, 0), JOBS_MAX - gone)
    end
    count(base, 'discarded', gone)
    return gone
end

local function sh_pause(base, args)
    if args[1] ~= '1' and args[1] ~= '0' then
        return invalid('paused', args[1] or '', '1 or 0')
    end
    if args[1] == '1' then
        call('SET', base .. ':paused', '1')
    else
        call('DEL', base .. ':paused')
    end
    return redis.status_reply('OK')
end

---- a rate and leases, kept by the whole fleet; their keys are literal ----------------------------

-- count window_ms cost. A generic cell rate: the key holds the time, in us, when the bucket is full
-- again. Returns 0 when `cost` was taken, else how many ms to wait. More than `count` at once needs a
-- full bucket and leaves a debt.
local function sh_rate(key, args)
    local per_window, window_ms, cost = integer(args[1]), integer(args[2]), integer(args[3])
    if not (per_window and window_ms and cost) or per_window < 1 or window_ms < 1 then
        return invalid('arguments', table.concat(args, ' '), 'count window_ms cost, the first two over 0')
    end
    local now = now_us()
    local price = cost * window_ms * 1000 / per_window
    local full_at = max(tonumber(call('GET', key)) or 0, now) + price
    local wait_us = full_at - now - max(window_ms * 1000, price)
    if wait_us > 0 then
        return max(math.ceil(wait_us / 1000), 1)
    end
    if full_at > now then
        call('SET', key, digits(full_at), 'PX', digits(math.ceil((full_at - now) / 1000) + 1))
    end
    return 0
end

local function check_lease(args)
    if #args < 1 or args[1] == '' then
        return invalid('token', args[1] or '', 'the owner\'s name')
    end
    if not integer(args[2]) or integer(args[2]) < 1 then
        return invalid('ttl_ms', args[2] or '', 'a whole number of milliseconds over 0')
    end
end

-- token ttl_ms. 1 when the lease is the token's now; taking one's own lease again prolongs it. Who is
-- refused first comes next, as long as it goes on asking: a holder that lets go and asks again at
-- once would else keep all others out.
local function sh_lease_take(key, args)
    local problem = check_lease(args)
    if problem then
        return problem
    end
    local token, turn = args[1], key .. ':next'
    local holder, first = call('GET', key), call('GET', turn)
    if holder == token then
        return call('PEXPIRE', key, args[2])
    end
    if not holder and (not first or first == token) then
        call('SET', key, token, 'PX', args[2])
        call('DEL', turn)
        return 1
    end
    if not first or first == token then
        call('SET', turn, token, 'PX', LEASE_TURN_MS)
    end
    return 0
end

local function sh_lease_renew(key, args)
    local problem = check_lease(args)
    if problem then
        return problem
    end
    return call('GET', key) == args[1] and call('PEXPIRE', key, args[2]) or 0
end

-- token
local function sh_lease_release(key, args)
    return call('GET', key) == args[1] and call('DEL', key) or 0
end

local function sh_version()
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
            return callback(keys[1], args)
        end,
    }
end

-- What ends jobs, keeps them alive or makes room must work when Redis is out of memory.
local OOM = {'allow-oom'}

redis.register_function{function_name = 'sh_version', callback = sh_version, flags = {'no-writes'}}
register('sh_enqueue', sh_enqueue)
register('sh_push', sh_push)
register('sh_stats', sh_stats, {'no-writes'})
register('sh_finish', sh_finish, OOM)
register('sh_done', sh_done, OOM)
register('sh_retry', sh_retry, OOM)  -- what it adds it takes from the stream; so does sh_bury
register('sh_bury', sh_bury, OOM)
register('sh_reply', sh_reply, OOM)
register('sh_release', sh_release, OOM)
register('sh_heartbeat', sh_heartbeat, OOM)
register('sh_reclaim', sh_reclaim, OOM)
register('sh_promote', sh_promote)
register('sh_prepare', sh_prepare, OOM)
register('sh_leave', sh_leave, OOM)
register('sh_reap', sh_reap, OOM)
register('sh_requeue', sh_requeue)
register('sh_discard', sh_discard, OOM)
register('sh_trim', sh_trim, OOM)
register('sh_pause', sh_pause, OOM)
register('sh_rate', sh_rate, OOM)
register('sh_lease_take', sh_lease_take, OOM)
register('sh_lease_renew', sh_lease_renew, OOM)
register('sh_lease_release', sh_lease_release, OOM)
