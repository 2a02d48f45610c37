"""An OpenAI-compatible embedder of our own: embedder.py PORT

Its vectors are made of the text's words, so that the same text always has the same one. A text that
holds POISON kills the model each time, as some texts do with real ones: the whole call fails with
500. Commands on standard input, one a line, each answered with "ok 0":

    length N   vectors of N numbers from now on, as if another model had been deployed
    calm       as at the start
"""
import hashlib
import http.server
import json
import os
import random
import sys
import threading

DIMENSION = 48
POISON = "zalgo"

length = DIMENSION


def vector(text, count):
    numbers = [0.0] * count
    for word in text.split():
        numbers[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % count] += 1.0
    chance = random.Random(text)
    return [round(number + chance.uniform(0, 0.01), 6) for number in numbers]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
        if any(POISON in text for text in texts):
            self.answer(500, {"error": {"message": "json: unsupported value: NaN"}})
            return
        self.answer(200, {"object": "list", "model": request["model"], "data": [
            {"object": "embedding", "index": i, "embedding": vector(text, length)}
            for i, text in enumerate(texts)]})

    def answer(self, code, document):
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # a client that hung up


def main(port):
    global length
    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ok 0", flush=True)
    for line in sys.stdin:
        words = line.split()
        length = int(words[1]) if words[0] == "length" else DIMENSION
        print("ok 0", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
