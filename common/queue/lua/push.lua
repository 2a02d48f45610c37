---- push: enqueueing for a human, field by field ------------------------------------------------------

do

local PUSH_BACKLOG = 100000
local PUSH_FIELDS_MAX = 64
local PUSH_OPTIONS = {'priority', 'delay_ms', 'deadline_ms', 'unique', 'reply', 'traceparent'}

local function pack_double(number)
    return '\203' .. struct.pack('>d', number)
end

-- What a field's text is packed as, by its type in PUSH_BODIES, which the build makes of the table of
-- kinds; nil where it is none of that type.
local PUSH_TRUTH = {['true'] = '\195', ['1'] = '\195', ['false'] = '\194', ['0'] = '\194'}
local PUSH_TYPES = {}

local function is_between(number, rule)
    return number and number >= rule.least and number <= rule.most
end

local function is_word(word, words)
    return find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end

function PUSH_TYPES.text(value)
    return find(value, '%S') and cmsgpack.pack(value) or nil
end

function PUSH_TYPES.integer(value, rule)
    local number = integer(value)
    return is_between(number, rule) and cmsgpack.pack(number) or nil
end

function PUSH_TYPES.number(value, rule)
    local number = find(value, '^%-?[%d.]+$') and tonumber(value)
    return is_between(number, rule) and pack_double(number) or nil
end

function PUSH_TYPES.truth(value)
    return PUSH_TRUTH[value]
end

function PUSH_TYPES.word(value, rule)
    return find(value, '^%S+$') and is_word(value, rule.words) and cmsgpack.pack(value) or nil
end

local function push_expects(rule)
    local kind = rule[2]
    if kind == 'text' then
        return 'text that is not blank'
    elseif kind == 'truth' then
        return 'true or false'
    elseif kind == 'word' then
        return 'one of ' .. rule.words
    end
    return format('a %s from %d to %d', kind == 'integer' and 'whole number' or kind, rule.least,
        rule.most)
end

-- A head of 16 bits; more fields are refused by push_fields.
local function pack_map(pairs_packed)
    local total = #pairs_packed / 2
    local head = total < 16 and string.char(128 + total) or '\222' .. struct.pack('>H', total)
    return head .. table.concat(pairs_packed)
end

-- The fields of which one at least must be there, "task_id or pool_id", where none is; else nil.
-- `either` of such a rule: with which words of the body's word field it belongs there.
local function push_lacks(rules, given)
    local names, word = {}, ''
    for _, rule in ipairs(rules) do
        word = rule[2] == 'word' and given[rule[1]] or word
        if rule.either and (rule.either == '' or is_word(word, rule.either)) then
            if given[rule[1]] then
                return nil
            end
            names[#names + 1] = rule[1]
        end
    end
    return #names > 0 and table.concat(names, ' or ') or nil
end

-- Takes the fields of a known queue's body out of `given`.
local function push_known(rules, given, order)
    local packed = {}
    local lacking = push_lacks(rules, given)
    for _, rule in ipairs(rules) do
        local field, value = rule[1], given[rule[1]] or rule.default
        if value then
            local bytes = PUSH_TYPES[rule[2]](value, rule)
            if not bytes then
                return nil, invalid(field, value, push_expects(rule))
            end
            packed[#packed + 1] = cmsgpack.pack(field)
            packed[#packed + 1] = bytes
        elseif rule.required then
            return nil, invalid(field, '', push_expects(rule))
        end
        given[field] = nil
    end
    if lacking then
        return nil, invalid(lacking, '', push_expects({'', 'text'}))
    end
    for _, field in ipairs(rules.rest and order or NONE) do
        if given[field] then
            packed[#packed + 1] = cmsgpack.pack(field)
            packed[#packed + 1] = cmsgpack.pack(given[field])
            given[field] = nil
        end
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
    if PUSH_BODIES[kind] == false then
        return nil, invalid('queue', name, 'a queue of plain fields; its documents need sh_enqueue')
    end
    if PUSH_BODIES[kind] then
        return push_known(PUSH_BODIES[kind], given, order)
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
