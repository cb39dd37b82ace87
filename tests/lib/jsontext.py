"""What the gateway may change in a request body, computed from the text alone: model name and stream_options.include_usage.

Everything else is the client's, byte for byte. This is the tests' own reading of the rules, on Python's JSON scanner.
"""
import json
from json.decoder import scanstring

WHITE = " \t\r\n"
DECODER = json.JSONDecoder()


def text_of(body):
    return body.decode("utf-8", "surrogateescape")


def bytes_of(text):
    return text.encode("utf-8", "surrogateescape")


def skip_white(text, at):
    while text[at] in WHITE:
        at += 1
    return at


def members(text, at=0):
    """[(key, start of the value, its end)] of the object that begins at or behind `at`, and the place behind its brace."""
    at = skip_white(text, at)
    if text[at] != "{":
        raise ValueError("no object")
    first = at + 1
    at, out = skip_white(text, first), []
    while text[at] != "}":
        key, at = scanstring(text, at + 1)
        at = skip_white(text, skip_white(text, at) + 1)  # behind the colon
        _, end = DECODER.raw_decode(text, at)
        out.append((key, at, end))
        at = skip_white(text, end)
        if text[at] == ",":
            at = skip_white(text, at + 1)
    return out, first


def find(text, name, at=0):
    """The last member of that name: (start, end) of its value, or None."""
    found, _ = members(text, at)
    return next(((start, end) for key, start, end in reversed(found) if key == name), None)


def with_model(body, name):
    """The body with another model, for a recorded request; one that has none gets it as its first member."""
    text = text_of(body)
    at = find(text, "model")
    if at is None:
        found, first = members(text)
        return bytes_of(text[:first] + f'"model":{json.dumps(name)}' + ("," if found else "") + text[first:])
    return bytes_of(text[:at[0]] + json.dumps(name) + text[at[1]:])


def edit_usage(text):
    """stream_options.include_usage as it has to be to make the provider report usage: (start, end, replacement) or None."""
    options = find(text, "stream_options")
    if options is None:
        _, first = members(text)
        return first, first, '"stream_options":{"include_usage":true},'
    value = text[options[0]:options[1]]
    if value == "null":
        return *options, '{"include_usage":true}'
    if value[0] != "{":
        return None  # the provider will say what is wrong with it
    wish = find(text, "include_usage", options[0])
    if wish is None:
        found, first = members(text, options[0])
        return first, first, '"include_usage":true' + ("," if found else "")
    return None if text[wish[0]:wish[1]] == "true" else (*wish, "true")


def at_provider(body, model, upstream_model, wants_usage):
    """The bytes that the provider has to get for a body that asks for policy model `model`. wants_usage: the gateway meters this
    stream by its usage chunk."""
    text = text_of(body)
    edits = []
    at = find(text, "model")
    if text[at[0]:at[1]] != f'"{upstream_model}"':
        edits.append((*at, json.dumps(upstream_model, ensure_ascii=False)))
    assert json.loads(text[at[0]:at[1]]) == model
    if wants_usage:
        edits.append(edit_usage(text))
    for start, end, new in sorted(filter(None, edits), reverse=True):
        text = text[:start] + new + text[end:]
    return bytes_of(text)


def asks_stream(body):
    at = find(text := text_of(body), "stream")
    return at is not None and text[at[0]:at[1]] == "true"


def asks_usage(body):
    text = text_of(body)
    options = find(text, "stream_options")
    if options is None or text[options[0]] != "{":
        return False
    wish = find(text, "include_usage", options[0])
    return wish is not None and text[wish[0]:wish[1]] == "true"


def nothing_but_usage(event):
    """An SSE event that exists only to report usage: no choice in it, and usage is an object."""
    data = b"\n".join(line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    try:
        value = json.loads(data)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("choices") == [] and isinstance(value.get("usage"), dict)
