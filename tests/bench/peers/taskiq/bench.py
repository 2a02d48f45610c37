import asyncio

import taskiq_redis

import marks

settings = {"xread_count": 500} if marks.BEST else {}
broker = taskiq_redis.RedisStreamBroker(f"redis://127.0.0.1:{marks.PORT}", **settings)


@broker.task(task_name="noop")
async def noop(text: str) -> None:
    marks.mark(text)


async def fill():
    await broker.startup()
    for number in range(marks.JOBS):
        await noop.kiq(marks.payload(number))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(fill())
