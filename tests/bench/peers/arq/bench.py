import asyncio

import arq

import marks

if marks.BEST:
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def noop(_context, text):
    marks.mark(text)


class WorkerSettings:
    functions = [noop]
    redis_settings = arq.connections.RedisSettings(host="127.0.0.1", port=marks.PORT)
    if marks.BEST:
        max_jobs = 100
        poll_delay = 0
        keep_result = 0


async def fill():
    pool = await arq.create_pool(WorkerSettings.redis_settings)
    for number in range(marks.JOBS):
        await pool.enqueue_job("noop", marks.payload(number))


if __name__ == "__main__":
    asyncio.run(fill())
