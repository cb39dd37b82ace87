"""Which targets may serve a request at all: the default model, capabilities, sizes, tags.

Usage: test_eligible.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
settings: {$SETTINGS}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: c, type: openai-compatible, base_url: $SIM, credential: sim}
customers:
  - name: acme$CUSTOMER
    projects: [{name: search$PROJECT}]
identities:
  - {uid: $UID, project: search}
models:
"""
CHAT = "/v1/chat/completions"


def target(provider, upstream, **more):
    return f'{{provider: {provider}, model: "{upstream}"' + "".join(f", {k}: {v}" for k, v in more.items()) + "}"


def model(name, *targets, **more):
    return f'  - {{name: "{name}", targets: [{", ".join(targets)}]' + "".join(f", {k}: {v}" for k, v in more.items()) + "}\n"


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None))

    def apply(self, *models, settings="", customer="", project=""):
        self.stack.apply(HEAD.replace("$SETTINGS", settings).replace("$CUSTOMER", customer).replace("$PROJECT", project) + "".join(models))
        self.stack.wait_ready()

    def served(self, name="m", **members):
        """Who answers."""
        a = self.stack.chat(name, way="unix", **members)
        self.assertEqual(a.status, 200, a.body)
        return a.header("x-aigw-provider")

    def reached(self, mark):
        return [line for line in self.stack.sim_log() if line["event"] == "recv" and (line["model"] or "").startswith(mark)]


class DefaultModel(Case):
    def test_a_request_that_names_none_gets_it(self):
        self.apply(model("other", target("b", "sim-b")), model("m", target("a", "sim-a"), aliases="[usual]"), settings="default_model: usual")
        for i, body in enumerate(({"messages": []}, {"stream": True, "messages": []}, b"{ }")):
            a = self.stack.call(CHAT, body)
            self.assertEqual((a.status, a.header("x-aigw-model"), a.header("x-aigw-provider")), (400, "m", "a") if body == b"{ }" else (200, "m", "a"), a.body)
            self.assertEqual(len(self.reached("sim-a")), i + 1)
        a = self.stack.call(CHAT, {"model": "other", "messages": []})
        self.assertEqual(a.header("x-aigw-provider"), "b")

    def test_what_names_one_wrongly_does_not(self):
        self.apply(model("m", target("a", "sim-a")), settings="default_model: m")
        for wrong in (None, 5, "", ["m"]):
            self.assertEqual(self.stack.call(CHAT, {"model": wrong, "messages": []}).json()["error"]["code"], "missing_model")
        self.assertEqual(self.stack.call(CHAT, {"Model": "m", "messages": []}).json()["error"]["code"], "missing_model")
        self.assertEqual(self.reached("sim"), [])

    def test_none_is_set(self):
        self.apply(model("m", target("a", "sim-a")))
        self.assertEqual(self.stack.call(CHAT, {"messages": []}).json()["error"]["code"], "missing_model")


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
PICTURE = {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
SOUND = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}
USER = {"role": "user", "content": "hi"}
NEEDS = {  # capability: (path, members that need it, the same without it)
    "tools": (CHAT, {"tools": [TOOL]}, {"tools": []}),
    "parallel_tools": (CHAT, {"parallel_tool_calls": True}, {"parallel_tool_calls": False}),
    "json_schema": (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}, {"response_format": {"type": "json_object"}}),
    "vision": (CHAT, {"messages": [PICTURE, USER]}, {"messages": [USER]}),
    "audio": (CHAT, {"messages": [SOUND]}, {"modalities": ["text"]}),
    "reasoning": (CHAT, {"reasoning_effort": "low"}, {"reasoning_effort": "none"}),
    "prefill": (CHAT, {"messages": [USER, {"role": "assistant", "content": "It"}]}, {"messages": [{"role": "assistant", "content": "It"}, USER]}),
    "chat": (CHAT, {}, None),
    "embeddings": ("/v1/embeddings", {"input": "x"}, None),
    "completions": ("/v1/completions", {"prompt": "x"}, None),
    "responses": ("/v1/responses", {"input": "x"}, None),
    "moderations": ("/v1/moderations", {"input": "x"}, None),
    "speech": ("/v1/audio/speech", {"input": "x", "voice": "alloy"}, None),
    "images": ("/v1/images/generations", {"prompt": "x"}, None),
    "transcription": (None, None, None),  # test_uploads
}
ENDPOINTS = [name for name, row in NEEDS.items() if row[2] is None]


class Capabilities(Case):
    """a comes first and lacks one thing, b has all."""

    def ask(self, path, members):
        body = {"model": "m", **({"messages": [USER]} if path == CHAT else {}), **members}
        return self.stack.call(path, body)

    def test_each_goes_to_who_has_it(self):
        for name, (path, needs, needless) in NEEDS.items():
            if path is None:
                continue
            with self.subTest(name):
                others = ", ".join(other for other in NEEDS if other != name)
                self.apply(model("m", target("a", "sim-a", capabilities=f"[{others}]"), target("b", "sim-b", priority=2)))
                self.assertEqual(self.ask(path, needs).header("x-aigw-provider"), "b")
                if needless is not None:
                    self.assertEqual(self.ask(path, needless).header("x-aigw-provider"), "a")
                self.apply(model("m", target("a", "sim-alone"), capabilities=f"[{others}]"))  # the model's list is its targets'
                a = self.ask(path, needs)
                self.assertEqual((a.status, a.json()["error"]["code"], a.header("x-should-retry")), (403, "no_eligible_target", "false"), a.body)
                self.assertIn(f"a lacks the capability '{name}'", a.json()["error"]["message"])
                self.assertEqual([line for line in self.reached("sim-alone") if line.get("endpoint") == path], [])

    def test_a_list_without_endpoints_leaves_them_free(self):
        self.apply(model("m", target("a", "sim-a", capabilities="[tools]"), target("b", "sim-b", priority=2)))
        for name in ENDPOINTS:
            path, needs, _ = NEEDS[name]
            if path:
                a = self.ask(path, needs)  # what it has no URL for, it was asked for all the same
                self.assertIn((a.header("x-aigw-provider"), a.header("x-aigw-fallback")), [("a", None), ("b", "a:404>b")], name)

    def test_it_holds_for_every_try(self):
        """Not by fallback, not when all are out, not by another strategy."""
        self.apply(model("m", target("a", "sim-a+fail-500"), target("b", "sim-never", capabilities="[chat]"), target("c", "sim-c+fail-500"),
                         retry="{attempts: 6, backoff: 1ms, budget: 100%}", when_all_out="try_best"))
        for _ in range(10):
            self.assertEqual(self.ask(CHAT, {"tools": [TOOL]}).status, 500)
        self.assertEqual(self.reached("sim-never"), [])

    def test_escapes_hide_nothing(self):
        self.apply(model("m", target("a", "sim-a", capabilities="[chat]"), target("b", "sim-b", priority=2)))
        for body in (b'{"model":"m","t\\u006fols":[{}],"messages":[]}', b'{"model":"m","messages":[{"role":"user","content":[{"typ\\u0065":"image\\u005furl"}]}]}'):
            self.assertEqual(self.stack.call(CHAT, body).header("x-aigw-provider"), "b", body)


class Sizes(Case):
    def test_s12_a_larger_window_after_the_providers_word(self):
        self.apply(model("m", target("a", "sim-x+fail-400+code-context_length_exceeded", context_window=8000),
                         target("b", "sim-x-small", context_window=4000, priority=2), target("c", "sim-x-large", context_window=128000, priority=3)))
        a = self.stack.chat("m", way="unix")
        self.assertEqual((a.status, a.header("x-aigw-fallback")), (200, "a:400>c"))
        self.assertEqual([line["model"] for line in self.reached("sim-x")], ["sim-x+fail-400+code-context_length_exceeded", "sim-x-large"])

    def test_what_can_not_fit_is_not_tried(self):
        self.apply(model("m", target("a", "sim-a", context_window=2000), target("b", "sim-b", priority=2, context_window=100000)))
        self.assertEqual(self.served(text="x" * 4000), "a")
        self.assertEqual(self.served(text="x" * 10000), "b")
        self.assertEqual(self.served(text="x" * 4000, max_tokens=1500), "b")

    def test_too_small_everywhere_is_the_providers_to_say(self):
        self.apply(model("m", target("a", "sim-a", context_window=2000), target("b", "sim-b", priority=2, context_window=1000)))
        self.assertEqual(self.served(text="x" * 20000), "a")

    def test_the_output_asked_for(self):
        self.apply(model("m", target("a", "sim-a", max_output_tokens=100), target("b", "sim-b", priority=2)))
        self.assertEqual((self.served(max_tokens=100), self.served(max_completion_tokens=101)), ("a", "b"))
        self.apply(model("m", target("a", "sim-a"), target("b", "sim-b", priority=2, max_output_tokens=5000), max_output_tokens=100))
        self.assertEqual((self.served(max_tokens=100), self.served(max_tokens=101)), ("a", "b"))


class Tags(Case):
    def row(self, first="sim-a", second="sim-b", **more):
        return model("m", target("a", first, tags="[us]"), target("b", second, tags="[eu, baa]", priority=2), target("c", "sim-c", tags="[eu]", priority=3), **more)

    def test_customer_project_model_and_header_add_up(self):
        for where in ("customer", "project"):
            self.apply(self.row(), **{where: {"customer": "\n    require_tags: [eu]", "project": ", require_tags: [eu]"}[where]})
            self.assertEqual(self.served(), "b", where)
        self.apply(self.row(require_tags="[eu]"))
        self.assertEqual(self.served(), "b")
        self.apply(self.row())
        self.assertEqual(self.served(), "a")
        for tags, provider in (("eu", "b"), (" baa , eu", "b"), ("us", "a"), ("", "a")):
            self.assertEqual(self.stack.chat("m", headers=[("X-Aigw-Require-Tags", tags)]).header("x-aigw-provider"), provider, tags)
        for tags in ("moon", "eu,us", "eu,moon"):
            a = self.stack.chat("m", headers=[("x-aigw-require-tags", tags)])
            self.assertEqual((a.status, a.json()["error"]["code"]), (403, "no_eligible_target"), tags)
        a = self.stack.chat("m", headers=[("x-aigw-require-tags", "eu"), ("x-aigw-require-tags", "us")])  # all of them count
        self.assertEqual(a.status, 403)

    def test_a_keys_tags(self):
        self.apply(self.row())
        free, bound = self.stack.make_key("search", name="free"), self.stack.make_key("search", name="bound", require_tags="eu,baa")
        self.assertEqual([self.stack.chat("m", key=k).header("x-aigw-provider") for k in (free, bound)], ["a", "b"])
        self.assertEqual(self.stack.chat("m", key=bound, headers=[("x-aigw-require-tags", "us")]).status, 403)
        self.assertEqual({k["name"]: k["require_tags"] for k in self.stack.api("GET", "/api/v1/keys")["keys"]}, {"free": "", "bound": "eu,baa"})
        with self.stack.connect() as wire:  # the verdict that a connection remembers is the key's own
            seen = [wire.call(CHAT, {"model": "m", "messages": []}, [("Authorization", f"Bearer {k}")]).header("x-aigw-provider") for k in (bound, bound, free, bound)]
        self.assertEqual(seen, ["b", "b", "a", "b"])
        for wrong in ("moon", "eu, baa", "eu,,baa", ",", "x" * 200):
            status, answer = self.stack.ask("POST", "/api/v1/keys", {"name": "x", "project": "search", "require_tags": wrong})
            self.assertEqual((status, answer["error"]["code"]), (400, "usage"), wrong)
        self.apply(model("m", target("a", "sim-a"), target("b", "sim-b")))  # its tags are gone: it is refused, not freed
        self.assertEqual(self.stack.chat("m", key=bound).json()["error"]["code"], "no_eligible_target")

    def test_the_header_can_only_narrow(self):
        self.apply(self.row(), project=", require_tags: [eu]")
        a = self.stack.chat("m", headers=[("x-aigw-require-tags", "us")])
        self.assertEqual(a.json()["error"]["code"], "no_eligible_target")
        self.assertEqual(self.stack.chat("m", headers=[("x-aigw-require-tags", "baa")]).header("x-aigw-provider"), "b")
        self.assertEqual(self.reached("sim-a"), [])

    def test_s22_down_is_not_ineligible(self):
        """Only a target outside is well: 503 if those inside are down, 403 if there is none; nothing is sent outside."""
        self.apply(model("m", target("a", "sim-outside"), target("b", "sim-in-b+fail-503", tags="[eu]"), target("c", "sim-in-c+fail-503", tags="[eu]"),
                         retry="{attempts: 5, backoff: 1ms, budget: 100%}"),
                   model("none", target("a", "sim-outside"), target("b", "sim-outside-too")), project=", require_tags: [eu]")
        seen = [self.stack.chat("m", way="unix").status for _ in range(12)]
        self.assertEqual(set(seen), {503})
        self.assertGreater(len(self.reached("sim-in-b")), 0)
        a = self.stack.chat("none", way="unix")
        self.assertEqual((a.status, a.json()["error"]["code"], a.header("x-should-retry")), (403, "no_eligible_target", "false"))
        self.assertIn("a lacks the tag 'eu', b lacks the tag 'eu'", a.json()["error"]["message"])
        self.assertEqual(self.reached("sim-outside"), [])

    def test_stickiness_never_leads_outside(self):
        self.apply(model("m", target("a", "sim-out"), target("b", "sim-in", tags="[eu]"), sticky="user"), project=", require_tags: [eu]")
        for i in range(20):
            self.assertEqual(self.served(user=f"u-{i}"), "b")
        self.assertEqual(self.reached("sim-out"), [])


class Sticky(Case):
    def check(self, ask):
        """The same value, the same target; not all values the same one."""
        seen = [{ask(f"value-{i}").header("x-aigw-provider") for _ in range(6)} for i in range(12)]
        self.assertTrue(all(len(s) == 1 for s in seen), seen)
        self.assertEqual(len(set.union(*seen)), 2)

    def test_by_a_header(self):
        self.apply(model("m", target("a", "sim-a"), target("b", "sim-b"), sticky='"header:X-Session"'), model("n", target("a", "sim-a"), target("b", "sim-b"), sticky='"header:x-other"'))
        self.check(lambda value: self.stack.chat("m", headers=[("x-session", value)]))
        self.check(lambda value: self.stack.chat("n", headers=[("X-Other", value), ("x-session", "1")]))
        self.assertEqual(len({self.served() for _ in range(40)}), 2)  # without it each call for itself

    def test_by_who_calls(self):
        """On the unix socket without a key it is the user, whoever that is."""
        for way in ("key", "user", "cache_key"):
            self.apply(model("m", target("a", "sim-a"), target("b", "sim-b"), sticky=way))
            self.assertEqual(len({self.served() for _ in range(30)}), 1, way)

    def test_by_the_cache_key(self):
        self.apply(model("m", target("a", "sim-a"), target("b", "sim-b"), sticky="cache_key"))
        self.check(lambda value: self.stack.chat("m", prompt_cache_key=value))
        self.check(lambda value: self.stack.chat("m", metadata={"user_id": value}))
        self.check(lambda value: self.stack.chat("m", user=value))
        self.assertEqual(len({self.served(prompt_cache_key="same", user=f"u-{i}") for i in range(20)}), 1)

    def test_a_target_that_may_not_be_called_loses_it(self):
        rows = (target("a", "sim-a"), target("b", "sim-b"))
        self.apply(model("m", *rows, sticky="cache_key"))
        before = {key: self.served(prompt_cache_key=key) for key in map(str, range(16))}
        self.apply(model("m", target("a", "sim-a", weight=0), rows[1], sticky="cache_key"))
        self.assertEqual({self.served(prompt_cache_key=key) for key in before}, {"b"})
        self.apply(model("m", *rows, sticky="cache_key"))
        self.assertEqual({key: self.served(prompt_cache_key=key) for key in before}, before)


if __name__ == "__main__":
    unittest.main()
