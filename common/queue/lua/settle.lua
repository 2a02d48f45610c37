---- a lane's jobs: the fence, and how a running job ends or goes on ------------------------------------

-- For the parts behind this one.
local held_of, must_remove, add_dead, add_again

do

local FENCE_SLACK = 16
local STREAM_AT = {['0'] = 1, ['1'] = 2, ['2'] = 3}  -- as C counts them

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
function held_of(stream, consumer, entries)
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
function must_remove(stream, consumer, entries, deliveries)
    local acked, problem = remove(stream, consumer, entries, deliveries)
    if problem then
        error(problem)
    end
    return acked
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

-- Ends entries that `consumer` holds, and counts them; returns how many, or the error: then it holds them
-- as before.
local function end_all(base, stream, consumer, entries, deliveries)
    count(base, 'done', #entries)
    local _, problem = remove(stream, consumer, entries, deliveries)
    if problem then
        count(base, 'done', -#entries)
        return problem
    end
    return #entries
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
    local total, lost = #entries, nil
    for i = 1, total do
        local entry = entries[i]
        if held[entry] == deliveries then
            held[entry] = nil  -- one that is named twice is its only once
        else
            lost = lost or {}
            lost[i] = true
        end
    end
    if not lost then  -- as nearly always: not a table more than it takes
        return end_all(base, stream, args[1], entries, deliveries)
    end
    local fates, ours = {}, {}
    for i = 1, total do
        fates[i] = lost[i] and LOST or MOVED
        if not lost[i] then
            ours[#ours + 1] = entries[i]
        end
    end
    local ended = end_all(base, stream, args[1], ours, deliveries)
    return type(ended) == 'number' and fates or ended
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
function add_dead(base, fields, entry, reason, text, deliveries, worker)
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
function add_again(base, stream, entry, job)
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

end
