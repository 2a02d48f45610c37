---- a job: its fields, its options, its entry in a stream, its member of the delayed set -------------
--
-- A job is a stream entry of five fields: id domain attempt options body. While it is delayed it is one
-- member "<id> <domain> <attempt> <options>\n<body>" of a sorted set, scored by its due time.

-- For the parts behind this one.
local is_id, is_domain, check_option, parse_options, read_options, edit_options, stream_for,
    add_job, by_name, bytes_of, read_job, is_before, entry_ms, first_due, first_due_base, wake,
    wake_if_first, delay_job, plain_since, split_member

do


function is_id(id)
    return #id <= 64 and id ~= 'FULL' and find(id, '^[0-9a-zA-Z:._-]+$') ~= nil  -- %w would be slower
end

function is_domain(domain)
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
        function(v) return #v <= UNIQUE_MAX and find(v, '^%C+$') and not find(v, ' ', 1, true) and v or nil end,
        '1 to 256 bytes without spaces and control characters',
    },
    reply = {function(v) return v == '1' or nil end, '1'},
    traceparent = {
        function(v) return #v <= TRACEPARENT_MAX and find(v, '^[!-~]+$') and v or nil end,
        '1 to 128 printable characters without spaces',
    },
    since = {integer, 'Unix milliseconds'},  -- of jobs that a producer kept in its outbox
}

function check_option(key, value)
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
function parse_options(text)
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
function read_options(text)
    local options = {}
    if text ~= '' then
        each_option(text, function(key, value) options[key] = value or options[key] end)
    end
    return options
end

-- The options without the keys in `drop`, and with `since` where there was none.
function edit_options(text, since, drop)
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

function stream_for(base, options)
    return streams_of(base)[STREAM_OF[options.priority] or STREAM_OF.normal]
end

function add_job(stream, id, domain, attempt, options, body)
    return must('XADD', stream, '*', 'id', id, 'domain', domain, 'attempt', attempt,
        'options', options, 'body', body)
end

-- Fields of a stream entry by name.
function by_name(fields)
    local job = {}
    for i = 1, #fields - 1, 2 do
        job[fields[i]] = fields[i + 1]
    end
    return job
end

function bytes_of(fields)
    local bytes = 0
    for i = 1, #fields do
        bytes = bytes + #fields[i]
    end
    return bytes
end

-- The job of entry `entry`, or nil where it is gone or not a job; the raw fields come second.
function read_job(stream, entry)
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
function is_before(entry, other)
    local ms, serial = match(entry, '^(%d+)%-(%d+)$')
    local other_ms, other_serial = match(other, '^(%d+)%-(%d+)$')
    if #ms ~= #other_ms or ms ~= other_ms then
        return #ms < #other_ms or (#ms == #other_ms and ms < other_ms)
    end
    return #serial < #other_serial or (#serial == #other_serial and serial < other_serial)
end

-- When the job of `entry` came; an id by hand may lie ahead.
function entry_ms(entry)
    return digits(min(tonumber(match(entry, '^%d+')), now_ms()))
end

local copies = 0
local WAKE_AGAIN_MS = 1000

-- Wakes the worker that looks after the queue's due jobs: it sleeps until the next one is due. One token
-- is enough; whatever else stands in the key, or a user who may not push, makes the job late at most.
function wake(base)
    local key = base .. ':wake'
    local is_there = try('EXISTS', key) == 1
    local kind = is_there and try('TYPE', key)
    local is_foreign = kind and kind.ok ~= 'list'
    if is_foreign then
        try('DEL', key)
    end
    if is_foreign or not is_there then
        try('RPUSH', key, '1')
        try('PEXPIRE', key, TOKEN_TTL_MS)
    end
end

-- After a call that delayed jobs, one of which may be due before all others. Those that nobody promoted
-- in time do not count: whoever was woken for them may be gone.
function wake_if_first()
    if first_due_base then
        local key, due = first_due_base .. ':delayed', digits(first_due)
        if try('ZCOUNT', key, digits(now_ms() - WAKE_AGAIN_MS), '(' .. due) == 0 then
            wake(first_due_base)
        end
        first_due, first_due_base = nil, nil
    end
end

-- Adds the whole job as one member. A set holds a member once: where the very same job stands there
-- already, `since` gets a serial behind a point while it is delayed ("since=1700000000000.17"), so that
-- none is swallowed. (A step of 1 ms instead cost n^2 / 2 tries for n copies, 10 s for 6,000.)
function delay_job(base, due, id, domain, attempt, options, body, since)
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
function plain_since(options)
    return sub((string.gsub(' ' .. options .. ' ', '( since=%d+)%.%d+ ', '%1 ')), 2, -2)
end

-- The parts of a delayed member; nothing where it is none. (No pattern over the whole: it would walk
-- through the body.)
function split_member(member)
    local stop = find(member, '\n', 1, true)
    if not stop then
        return nil
    end
    local id, domain, attempt, options = match(sub(member, 1, stop - 1), '^(%S+) (%S+) (%d+) ?(.*)$')
    return id, domain, attempt, options, sub(member, stop + 1)
end

end
