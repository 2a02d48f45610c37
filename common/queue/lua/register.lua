---- registration -------------------------------------------------------------------------------------

do

local function register(name, callback, flags)
    redis.register_function{
        function_name = name,
        flags = flags,
        callback = function(keys, args)
            if not call then
                bind()
            end
            if #keys ~= 1 then
                return invalid('keys', tostring(#keys), 'one key')
            end
            looked_bytes = 0
            local answer = callback(keys[1], args)
            wake_if_first()
            return answer
        end,
    }
end

-- A function whose writes are taken back where it fails.
local function whole(f)
    return function(key, args)
        local answer, problem = attempt(f, key, args)
        commit()
        return answer or problem
    end
end

-- What runs jobs, ends them, keeps them alive or makes room must work when Redis is out of memory.
local OOM = {'allow-oom'}
redis.register_function{function_name = 'sh_version', callback = api.sh_version, flags = {'no-writes'}}
register('sh_enqueue', api.sh_enqueue)
register('sh_push', api.sh_push)
register('sh_stats', api.sh_stats, {'no-writes'})
register('sh_finish', whole(api.sh_finish), OOM)
register('sh_done', api.sh_done, OOM)
register('sh_retry', whole(api.sh_retry), OOM)  -- what it adds it takes from the stream; so does sh_bury
register('sh_park', whole(api.sh_retry), OOM)
register('sh_bury', whole(api.sh_bury), OOM)
register('sh_reply', whole(api.sh_reply), OOM)
register('sh_release', whole(api.sh_release), OOM)
register('sh_heartbeat', whole(api.sh_heartbeat), OOM)
register('sh_reclaim', whole(api.sh_reclaim), OOM)
register('sh_promote', whole(api.sh_promote), OOM)  -- so does it of the delayed set
register('sh_parked', api.sh_parked, {'no-writes'})
register('sh_unpark', whole(api.sh_unpark), OOM)
register('sh_prepare', api.sh_prepare, OOM)
register('sh_yield', whole(api.sh_yield), OOM)
register('sh_leave', api.sh_leave, OOM)
register('sh_reap', whole(api.sh_reap), OOM)
register('sh_requeue', whole(api.sh_requeue))
register('sh_discard', whole(api.sh_discard), OOM)
register('sh_trim', whole(api.sh_trim), OOM)
register('sh_limit', whole(api.sh_limit), OOM)
register('sh_orphans', api.sh_orphans, {'no-writes'})
register('sh_adopt', whole(api.sh_adopt), OOM)
register('sh_purge', whole(api.sh_purge), OOM)
register('sh_repair', whole(api.sh_repair), OOM)
register('sh_pause', api.sh_pause, OOM)
register('sh_rate', api.sh_rate, OOM)
register('sh_lease_take', api.sh_lease_take, OOM)
register('sh_lease_renew', api.sh_lease_renew, OOM)
register('sh_lease_release', api.sh_lease_release, OOM)
register('sh_register', whole(api.sh_register), OOM)
register('sh_seat', whole(api.sh_seat), OOM)

end
