---- what all parts use: numbers, keys, commands that may fail, counters ----------------------------------

local GROUP = 'fleet'
local ENTRY_MAX = BODY_MAX + 64 * 1024  -- bytes of all values: more is nobody's job
local DELAY_MAX_MS = DELAY_MAX_DAYS * 24 * 60 * 60 * 1000
local UNIQUE_TTL_MS = 30 * 24 * 60 * 60 * 1000  -- longer than any job waits: a pause may last
local ERROR_MAX = 1000
local ATTEMPT_MAX = 999999999
local COUNTER_MAX = 2 ^ 53  -- what a double holds exactly
local FIELDS_MAX = 64  -- values of a foreign entry that a dead letter keeps; unpack() has a limit
local KNOWN_MAX = 64
local CLAIMABLE_IDLE_MS = 24 * 60 * 60 * 1000  -- longer than any worker's visibility timeout

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
    return text and #text <= DIGITS_MAX and find(text, '^%d+$') and tonumber(text) or nil
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

---- what may fail, and is taken back then ----------------------------------------------------------

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

---- counting --------------------------------------------------------------------------------------

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

-- What a function adds to a stream it takes back by XDEL: it makes sure of that right before it begins.
-- No entry has this id.
local function must_delete(stream)
    must('XDEL', stream, '0-0')
end

local COUNTERS = {
    'enqueued', 'deduplicated', 'refused', 'done', 'retried', 'buried', 'expired', 'reclaimed',
    'requeued', 'discarded', 'parked', 'reset',
}

-- A counter as a number, nil for what is none: junk, or more than the books could be added up with.
local function counter_value(text)
    local number = #text <= 16 and find(text, '^%d+$') and tonumber(text)
    return number and number <= COUNTER_MAX and number or nil
end
