import marks


def noop(text):
    if marks.BEST:
        marks.mark(text)
    else:
        marks.mark_now(text)  # the process ends with the job


def fill():
    import redis
    import rq

    queue = rq.Queue("bench", connection=redis.Redis(port=marks.PORT))
    result_ttl = 0 if marks.BEST else None
    for begin in range(0, marks.JOBS, 1000):
        numbers = range(begin, min(begin + 1000, marks.JOBS))
        queue.enqueue_many([
            rq.Queue.prepare_data("bench.noop", (marks.payload(n),), result_ttl=result_ttl)
            for n in numbers])


if __name__ == "__main__":
    fill()
