---- operators ----------------------------------------------------------------------------------------

do

local TRIM_SLICE = 100  -- letters
local ORPHANS_SLICE = 1000  -- running jobs between which a call looks
local NODE_ENTRIES = 100  -- of a stream's node, by default

-- An orphan is an entry that nobody will ever run: delivered, as the group has it, and nobody's (XGROUP
-- DELCONSUMER or SETID, XACK without XDEL, a group made at "$" by another tool).

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

end
