---- unique keys, and the replies that somebody waits for ---------------------------------------------
--
-- A job with a unique key holds it until it ends; a job that comes meanwhile with the same key is its
-- twin: it is not added, and who enqueued it is told the holder's id. What stands under the key is the
-- holder's claim:
--
--                 put_claim                  note_place: it is delayed, due, taken back, adopted
--       free ------------------> held ---+------------------------------------------------------+
--        ^                        |  ^   |  find_twin: a twin that is content with later ("~")   |
--        |                        |  +---+  renew_for_twins: expired, but a twin has more time --+
--        +------------------------+
--          release_unique: finished, buried, expired, purged; a twin's asker is told, or is owed a reply
--
-- Another job takes a held key over, and the holder goes on without, where the holder is no twin: it asks
-- something else (its mark), is gone (an operator deleted it), or would come too late (it sleeps longer,
-- or waits behind others). A claim is words with a space between: the job's id; for a query's key a mark
-- of the question, since anybody can work out another's query hash, and a job with that key and another
-- body would stand for his; "@" and the place where the job stands; "~" and the last moment that one of
-- its twins is content with, 0 for any, where that is later than its own deadline.
--     @2:1700000000000-0:0          in the stream of that priority, with its deadline
--     @d1700000000000:0:2           delayed by its producer until then, its deadline, its priority
--     @r1700000000000:0:2           the same, after a failure or for an upstream that is down
-- A library before 5 wrote the id alone; such a holder is believed.
--
-- "wanted" beside a key says that a twin's asker waits for the holder's reply.

-- For the parts behind this one.
local place_in_stream, place_delayed, looked_bytes, note_place, wanted_key, push_reply, settle,
    settle_fault, new_claim, find_twin, must_be_writable, put_claim, renew_for_twins

do

local UNIQUE_TTL = '2592000000'  -- printing is dear
local REPLY_TTL_MS = 5 * 60 * 1000
local CLAIM_MAX = 256  -- bytes under a unique key
local SAME_DUE_MAX = 2
local STREAM_DIGIT = {high = '1', normal = '2', low = '3'}

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

function place_in_stream(options, entry)
    return (STREAM_DIGIT[options.priority] or '2') .. ':' .. entry .. ':' .. deadline_in(options)
end

-- kind: d or r, see above.
function place_delayed(options, due, kind)
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
looked_bytes = 0

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
function note_place(base, domain, unique, id, place, ttl)
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
function wanted_key(base, id)
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

function push_reply(base, id, reply)
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
function settle(base, job, reply, fault)
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
function settle_fault(base, job, fault)
    if job.id then
        local options, domain = read_options(job.options), job.domain or ''
        settle(base, {id = job.id, domain = domain, unique = options.unique},
            options.reply == '1' and is_id(job.id) and error_reply(domain, fault), fault)
    end
end

-- The claim of a new job: what it puts under its unique key, once it stands somewhere.
function new_claim(base, id, domain, options, body)
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
function find_twin(base, claim, options, fellow)
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
function must_be_writable(key)
    if not redis.acl_check_cmd('SET', key, '') then
        must('SET', key, '', 'XX', 'KEEPTTL')
    end
end

function put_claim(claim, place)
    local delay_ms = claim.options.delay_ms
    claim.place = place
    return try('SET', claim.key, claim_text(claim), 'PX',
        delay_ms and digits(UNIQUE_TTL_MS + delay_ms) or UNIQUE_TTL)
end

-- A job whose deadline passed while twins of it, which are content with later, stand behind it: it is
-- added anew with the last of theirs. False where there are none.
function renew_for_twins(base, stream, entry, job)
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

end
