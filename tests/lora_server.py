"""A server on loopback that loads adapters as vLLM does, or SGLang, and really runs the model.

It answers with plain Hugging Face generation, the adapter beside its base and not merged in.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


def vllm(status, text):
    return Refused(status, {"error": {"message": text, "code": status}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:  # as many at once as this model needs
            server.asked.append((self.path, body))
            try:
                status, said = 200, server.calls[self.path](server, body)
            except Refused as refused:
                status, said = refused.status, refused.body
            except KeyError:
                status, said = 404, {"detail": "Not Found"}
        self.send(status, said)

    def send(self, status, said):
        raw = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def load(server, body):
    name, path = body["lora_name"], Path(body["lora_path"])
    if name in server.models:
        raise vllm(400, f"The lora adapter '{name}' has already been loaded.")
    if not (path / "adapter_model.safetensors").is_file():
        raise vllm(404, f"Loading lora {name} failed: No adapter found for {path}")
    base = AutoModelForCausalLM.from_pretrained(server.base)
    base.generation_config = GenerationConfig()
    server.models[name] = PeftModel.from_pretrained(base, str(path)).eval()
    return f"Success: LoRA adapter '{name}' added successfully."


def unload(server, body):
    if server.models.pop(body["lora_name"], None) is None:
        raise vllm(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
    return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."


def complete(server, body):
    if status := server.script(len(server.asked), body):
        raise vllm(status, "as the script has it")
    model = server.models.get(body[server.key])
    if model is None:
        raise vllm(404, f"The model `{body[server.key]}` does not exist.")
    ids = torch.tensor([body["prompt"]])
    chance = {"do_sample": False}
    if body["temperature"] > 0:
        torch.manual_seed(body["seed"])
        chance = {name: body[name] for name in ("temperature", "top_p")}
        chance |= {"do_sample": True, "top_k": 0}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=body["max_tokens"],
            eos_token_id=body["stop_token_ids"],
            pad_token_id=0,
            **chance,
        )
    written = out[0, ids.shape[1] :].tolist()
    ended = written[-1] in body["stop_token_ids"]
    choice = {"text": "", "finish_reason": "stop" if ended else "length"}
    choice |= {"token_ids": written} if server.says_ids else {}
    usage = {"prompt_tokens": ids.shape[1], "completion_tokens": len(written)}
    return {"model": body["model"], "choices": [choice], "usage": usage}


#: Where each is called, and which field of a request has the adapter's name.
KINDS = {
    "vllm": ("/v1/", "model"),
    "sglang": ("/", "lora_path"),
}


@contextmanager
def lora_server(base, kind="vllm", script=lambda number, body: 0, adapters=True, says_ids=True):
    """Serve a base; `script` names an HTTP status with which a completion fails, 0 for none.

    Without `adapters` nothing can be loaded; without `says_ids` answers have texts alone.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.base, server.script, server.says_ids = base, script, says_ids
    place, server.key = KINDS[kind]
    server.calls = {"/v1/completions": complete}
    if adapters:
        server.calls |= {f"{place}load_lora_adapter": load, f"{place}unload_lora_adapter": unload}
    server.models, server.asked, server.lock = {}, [], threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
