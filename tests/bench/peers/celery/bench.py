import celery

import marks

app = celery.Celery("bench", broker=f"redis://127.0.0.1:{marks.PORT}/0")
if marks.BEST:
    app.conf.update(task_ignore_result=True, worker_disable_rate_limits=True,
                    worker_send_task_events=False)


@app.task(name="noop")
def noop(text):
    marks.mark(text)


def fill():
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(marks.JOBS):
            noop.apply_async((marks.payload(number),), producer=producer)


if __name__ == "__main__":
    fill()
