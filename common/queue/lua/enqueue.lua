---- producers: room, counting, adding -----------------------------------------------------------------

-- For the parts behind this one.
local forget_backlog, check_base, check_job, enqueue

do

local SINCE_MAX_MS = 366 * 24 * 60 * 60 * 1000
local BACKLOG_BYTES = 1024 * 1024 * 1024  -- where no worker said another bound
local LOOK_BYTES = 64 * 1024 * 1024  -- what is added between two looks
local JOB_BYTES = 200  -- beside a job's body
local RECOUNT_AFTER = 250  -- jobs
local NEAR_LIMIT = 1000

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
function forget_backlog(streams)
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

function check_base(base)
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

function check_job(id, domain, body)
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
function enqueue(base, backlog_max, args, first, parsed)
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

end
