---- the group and its consumers: taking over, tidying up ---------------------------------------------

-- For the parts behind this one.
local group_of, is_exhausted

do

local REAP_MAX = 5000  -- consumers
local LAST_ID = '18446744073709551615-18446744073709551615'

-- The group's facts, {pending = 0} where there is no stream or no group.
function group_of(stream)
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
function is_exhausted(stream, length, group)
    if group['last-delivered-id'] == LAST_ID then
        return true
    end
    if length > 0 then
        return #(try('XRANGE', stream, LAST_ID, LAST_ID) or NONE) > 0
    end
    return by_name(try('XINFO', 'STREAM', stream) or NONE)['last-generated-id'] == LAST_ID
end

-- What the black box says of a job: the phase its last lane was in, and that lane's consumer name.
-- Written by lanes for jobs that were taken over ("upsert host-7-3f.2"), see queue_write_phase.
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

end
