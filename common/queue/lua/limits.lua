---- kept by the whole fleet: a rate, leases, who is alive; their keys are literal ----------------------

do

local LEASE_TURN_MS = 50
local RATE_DEBT = 10  -- windows

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

end
