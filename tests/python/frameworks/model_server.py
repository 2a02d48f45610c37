"""A model's HTTP interface on a free port, as OpenAI and Anthropic have it; it keeps what it is sent."""

import http.server
import json
import threading

ANSWER = "three months"


def chat_completion(text, end):
    message = {"role": "assistant", "content": text}
    if end == "tool_calls":
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        message = {"role": "assistant", "content": text, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": end}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def response(text, end):
    part = {"type": "output_text", "text": text, "annotations": []}
    output = [{"id": "1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]
    if end == "tool_calls":
        output.append({"id": "2", "type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"})
    return {
        "id": "1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "incomplete" if end == "length" else "completed",
        "output": output,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }


def message(text, end):
    content = [{"type": "text", "text": text}]
    if end == "tool_calls":
        content.append({"type": "tool_use", "id": "t", "name": "look", "input": {}})
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[end]
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


ANSWERS = {"/v1/chat/completions": chat_completion, "/v1/responses": response, "/v1/messages": message}


class ModelServer:
    """answer: what it says; end: why it stops (stop, length, tool_calls); status: of HTTP."""

    def __init__(self):
        self.requests = []
        self.answer, self.end, self.status = ANSWER, "stop", 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(asked))
                said = ANSWERS[self.path](outer.answer, outer.end)
                body = json.dumps(said if outer.status == 200 else {"error": {"message": "broken"}}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
