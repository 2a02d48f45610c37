---- push: enqueueing for a human, field by field ------------------------------------------------------

do

local PUSH_BACKLOG = 100000
local PUSH_FIELDS_MAX = 64
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

-- A head of 16 bits; more fields are refused by push_fields.
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
    if #args == 0 or #args % 2 == 1 or #args > 2 * PUSH_FIELDS_MAX then
        return nil, invalid('arguments', tostring(#args),
            'at most ' .. PUSH_FIELDS_MAX .. ' pairs of a field and its value')
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

function api.sh_push(base, args)
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
    local counted = try('HMGET', streams_of(base).counters, 'enqueued', 'deduplicated') or {}
    local serial = (integer(counted[1]) or 0) + (integer(counted[2]) or 0)
    local id = format('push-%x-%d', now_us(), serial)
    problem = check_job(id, domain, body)
    if problem then
        return problem
    end
    local answers = enqueue(base, PUSH_BACKLOG, {id, domain, text, body}, 1, {options})
    if answers[1] == 'FULL' then
        return redis.error_reply(format('SHFULL queue "%s": %d jobs wait already', base, PUSH_BACKLOG))
    end
    return answers[1] or answers
end

end
