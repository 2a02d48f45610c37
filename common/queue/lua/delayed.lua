---- the delayed set: what is due, what is parked ------------------------------------------------------

do

local PROMOTE_AGAIN_MS = 60 * 1000

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
