import dramatiq
from dramatiq.brokers.redis import RedisBroker

import marks

settings = {"middleware": []} if marks.BEST else {}
dramatiq.set_broker(RedisBroker(host="127.0.0.1", port=marks.PORT, **settings))


@dramatiq.actor
def noop(text):
    marks.mark(text)


if __name__ == "__main__":
    for number in range(marks.JOBS):
        noop.send(marks.payload(number))
