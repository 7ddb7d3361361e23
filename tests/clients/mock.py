"""A model that is none: it answers every request of a coding agent with a short text, and calls a tool when it is told to.

Speaks Anthropic Messages, OpenAI Responses and chat completions, and Gemini, each as one answer or as a stream. A prompt with

    MOCK-CALL <tool> <JSON of its arguments>

is answered with a call of the tool whose name ends with <tool> and contains "penpal"; once its result is there, with text. Every
request is kept, so that a test can see what a model would have read.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALL = re.compile(r"MOCK-CALL (\w+) (\{.*?\}) END", re.S)


def texts(value):
    """All strings in a value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


class Model:
    """What the agents said, and the server that answers them."""

    def __init__(self):
        self.requests = []
        self.lock = threading.Lock()
        self.serial = 0
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.plain({"data": [{"id": "mock", "object": "model"}], "models": []})

            def do_HEAD(self):
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self):
                size = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(size) if size else self.chunks()
                try:
                    body = json.loads(raw or b"{}")
                except ValueError:
                    body = {}
                model.answer(self, self.path, body)

            def chunks(self):
                if "chunked" not in (self.headers.get("transfer-encoding") or ""):
                    return b""
                whole = b""
                while True:
                    length = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                    part = self.rfile.read(length)
                    self.rfile.readline()
                    if not length:
                        return whole
                    whole += part

            def plain(self, value, status=200):
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, events):
                data = b"".join(
                    (f"event: {name}\n" if name else "").encode() + b"data: " + (
                        value if isinstance(value, str) else json.dumps(value)
                    ).encode() + b"\n\n"
                    for name, value in events
                )
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()

    # What a test asks.

    def seen(self, text, since=0):
        """Requests, from the number `since` on, in which a text stands."""
        with self.lock:
            kept = self.requests[since:]
        return [at for at, request in kept if any(text in one for one in texts(request))]

    def count(self):
        with self.lock:
            return len(self.requests)

    def times(self, text):
        """How often a text stands in the newest request that has it: what is in a conversation stays in it."""
        with self.lock:
            kept = list(self.requests)
        for _, request in reversed(kept):
            many = sum(one.count(text) for one in texts(request))
            if many:
                return many
        return 0

    # What an agent is answered.

    def next(self):
        with self.lock:
            self.serial += 1
            return self.serial

    def decide(self, body, prompts, results, tools):
        """A tool call, as (name, arguments), or nothing."""
        with self.lock:
            self.requests.append((time.time(), body))
        last = None
        for prompt in prompts:
            for found in CALL.finditer(prompt):
                last = found
        if last is None:
            return None
        # Some clients quote a prompt once more.
        wanted, arguments = last.group(1), json.loads(last.group(2).replace('\\"', '"'))
        if any(mark in result for result in results for mark in (f"#{arguments.get('mark')}", wanted)) and results:
            return None
        arguments = {k: v for k, v in arguments.items() if k != "mark"}
        name = next((tool for tool in tools if "penpal" in tool and tool.endswith(wanted)), None)
        if name is None and "use_tool" in tools:
            # Some clients show one tool that calls all tools of MCP servers.
            return ("use_tool", {"tool_name": f"penpal__{wanted}", "tool_input": arguments})
        return (name or f"mcp__penpal__{wanted}", arguments)

    def answer(self, out, path, body):
        path = path.split("?")[0]
        if path.endswith("/count_tokens") or path.endswith(":countTokens"):
            return out.plain({"input_tokens": 10, "totalTokens": 10})
        if path.endswith("/messages"):
            return self.anthropic(out, body)
        if path.endswith("/responses"):
            return self.responses(out, body)
        if path.endswith("/chat/completions"):
            return self.chat(out, body)
        if "enerateContent" in path:
            return self.gemini(out, path, body)
        return out.plain({})

    def anthropic(self, out, body):
        messages = body.get("messages", [])
        parts = [
            part if isinstance(part, dict) else {"type": "text", "text": part}
            for message in messages
            for part in (message["content"] if isinstance(message["content"], list) else [message["content"]])
        ]
        # Only what comes after the newest order and was answered by a tool counts as its result.
        at = max((i for i, part in enumerate(parts) if part.get("type") == "text" and CALL.search(part["text"])), default=-1)
        results = ["send inbox wait sessions" for part in parts[at + 1 :] if part.get("type") == "tool_result"] if at >= 0 else []
        prompts = [parts[at]["text"]] if at >= 0 else []
        call = self.decide(body, prompts, results, [tool.get("name", "") for tool in body.get("tools", [])])
        number = self.next()
        if call:
            block = {"type": "tool_use", "id": f"toolu_{number:08d}", "name": call[0], "input": call[1]}
        else:
            block = {"type": "text", "text": f"Done {number}."}
        whole = {
            "id": f"msg_{number:08d}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "mock"),
            "content": [block],
            "stop_reason": "tool_use" if call else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }
        if not body.get("stream"):
            return out.plain(whole)
        start = dict(whole, content=[], stop_reason=None)
        if call:
            begin = dict(block, input={})
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
        else:
            begin = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        return out.stream([
            ("message_start", {"type": "message_start", "message": start}),
            ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": begin}),
            ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}),
            ("content_block_stop", {"type": "content_block_stop", "index": 0}),
            ("message_delta", {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}, "usage": {"output_tokens": 5}}),
            ("message_stop", {"type": "message_stop"}),
        ])

    def responses(self, out, body):
        items = body.get("input", [])
        items = items if isinstance(items, list) else [{"role": "user", "content": items}]
        at = max((i for i, item in enumerate(items) if item.get("role") == "user" and any(CALL.search(t) for t in texts(item))), default=-1)
        after = items[at + 1 :]
        results = ["send inbox wait sessions" for item in after if str(item.get("type", "")).endswith("call_output")] if at >= 0 else []
        prompts = list(texts(items[at])) if at >= 0 else []
        tools, spaces = [], {}
        for tool in body.get("tools", []):
            if tool.get("type") == "namespace":
                for inner in tool.get("tools", []):
                    tools.append(f"{tool.get('name')}__{inner.get('name')}")
                    spaces[tools[-1]] = (tool.get("name"), inner.get("name"))
            else:
                tools.append(tool.get("name") or "")
        call = self.decide(body, prompts, results, tools)
        number = self.next()
        if call:
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": call[0], "arguments": json.dumps(call[1]), "status": "completed"}
            if call[0] in spaces:
                item["namespace"], item["name"] = spaces[call[0]]
        else:
            item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": f"Done {number}.", "annotations": []}]}
        whole = {
            "id": f"resp_{number}",
            "object": "response",
            "status": "completed",
            "model": body.get("model", "mock"),
            "output": [item],
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
        }
        if not body.get("stream"):
            return out.plain(whole)
        return out.stream([
            ("response.created", {"type": "response.created", "response": dict(whole, status="in_progress", output=[])}),
            ("response.output_item.added", {"type": "response.output_item.added", "output_index": 0, "item": item}),
            ("response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}),
            ("response.completed", {"type": "response.completed", "response": whole}),
        ])

    def chat(self, out, body):
        messages = body.get("messages", [])
        # Some clients ask for a line about the turn and quote its prompt: no order.
        order = lambda text: CALL.search(text) and "Do NOT call any tools" not in text
        at = max((i for i, one in enumerate(messages) if one.get("role") == "user" and any(order(t) for t in texts(one.get("content")))), default=-1)
        results = ["send inbox wait sessions" for one in messages[at + 1 :] if one.get("role") == "tool"] if at >= 0 else []
        prompts = list(texts(messages[at].get("content"))) if at >= 0 else []
        tools = [tool.get("function", {}).get("name", "") for tool in body.get("tools", [])]
        call = self.decide(body, prompts, results, tools)
        number = self.next()
        message = {"role": "assistant", "content": None if call else f"Done {number}."}
        if call:
            message["tool_calls"] = [{"index": 0, "id": f"call_{number}", "type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}}]
        finish = "tool_calls" if call else "stop"
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        head = {"id": f"chat-{number}", "created": 1, "model": body.get("model", "mock")}
        if not body.get("stream"):
            return out.plain(dict(head, object="chat.completion", choices=[{"index": 0, "message": message, "finish_reason": finish}], usage=usage))
        chunk = dict(head, object="chat.completion.chunk")
        return out.stream([
            ("", dict(chunk, choices=[{"index": 0, "delta": message, "finish_reason": None}])),
            ("", dict(chunk, choices=[{"index": 0, "delta": {}, "finish_reason": finish}])),
            ("", dict(chunk, choices=[], usage=usage)),
            ("", "[DONE]"),
        ])

    def gemini(self, out, path, body):
        contents = body.get("contents", [])
        at = max((i for i, one in enumerate(contents) if one.get("role") == "user" and any(CALL.search(t) for t in texts(one))), default=-1)
        results = ["send inbox wait sessions" for one in contents[at + 1 :] for part in one.get("parts", []) if "functionResponse" in part] if at >= 0 else []
        prompts = list(texts(contents[at])) if at >= 0 else []
        tools = [one.get("name", "") for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
        call = self.decide(body, prompts, results, tools)
        number = self.next()
        part = {"functionCall": {"name": call[0], "args": call[1]}} if call else {"text": f"Done {number}."}
        # Some requests want JSON of a given shape: whom to speak next, which model to take.
        if not call and (body.get("generationConfig") or {}).get("responseMimeType") == "application/json":
            part = {"text": json.dumps({"reasoning": "done", "next_speaker": "user", "model_choice": "flash", "corrected_target_snippet": ""})}
        whole = {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}], "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}}
        if "stream" in path:
            return out.stream([("", whole)])
        return out.plain(whole)
