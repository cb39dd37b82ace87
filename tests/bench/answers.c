#include "answers.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_OPEN                                                                                 \
	"data: {\"id\":\"chatcmpl-bench0001\",\"object\":\"chat.completion.chunk\","               \
	"\"created\":1760000000,\"model\":\"mock-gpt\",\"service_tier\":\"default\","              \
	"\"system_fingerprint\":\"fp_bench\",\"choices\":["
#define CHOICE_END ",\"logprobs\":null,\"finish_reason\":null}]}\n\n"
#define USAGE                                                                                      \
	"\"usage\":{\"prompt_tokens\":211,\"completion_tokens\":50,\"total_tokens\":261,"          \
	"\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"                      \
	"\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"                \
	"\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}"
#define STREAM_HEAD                                                                                \
	"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"                    \
	"cache-control: no-cache\r\nx-request-id: req_bench0001\r\n"                               \
	"transfer-encoding: chunked\r\n\r\n"

struct answer answer_plain, answer_burst, answer_begin, answer_event, answer_unknown;

static size_t event_stamp_at; /* offset of the digits in answer_event */
static size_t burst_stamp_at[BURST_EVENTS];

static void grow(struct answer *a, const char *bytes, size_t n)
{
	char *to = realloc(a->bytes, a->len + n);

	if (!to)
		die("bench-upstream");
	memcpy(to + a->len, bytes, n);
	a->bytes = to;
	a->len += n;
}

static void grow_text(struct answer *a, const char *text)
{
	grow(a, text, strlen(text));
}

/* One HTTP chunk that holds one event, as providers send them. */
static void grow_chunk(struct answer *a, const char *text)
{
	char size[32];

	snprintf(size, sizeof(size), "%zx\r\n", strlen(text));
	grow_text(a, size);
	grow_text(a, text);
	grow_text(a, "\r\n");
}

static size_t stamp_find(const struct answer *a, size_t from)
{
	const char *at = memmem(a->bytes + from, a->len - from, STAMP_MARK, strlen(STAMP_MARK));

	if (!at)
		abort();
	return (size_t)(at - a->bytes) + strlen(STAMP_MARK);
}

struct answer answer_json(const char *status, const char *text)
{
	struct answer a = { NULL, 0 };
	char head[256];

	snprintf(head, sizeof(head),
		"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
		"x-request-id: req_bench0001\r\ncontent-length: %zu\r\n\r\n",
		status, strlen(text));
	grow_text(&a, head);
	grow_text(&a, text);
	return a;
}

static void plain_build(void)
{
	static const char sentence[] = "It is a fixed answer, and the same for everybody. ";
	struct answer body = { NULL, 0 };

	grow_text(&body, "{\"id\":\"chatcmpl-bench0001\",\"object\":\"chat.completion\","
			 "\"created\":1760000000,\"model\":\"mock-gpt\",\"choices\":[{\"index\":0,"
			 "\"message\":{\"role\":\"assistant\",\"content\":\"");
	for (int i = 0; i < 8; i++)
		grow_text(&body, sentence);
	grow_text(&body, "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
			 "\"finish_reason\":\"stop\"}]," USAGE
			 ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\"}\n");
	grow(&body, "", 1);
	answer_plain = answer_json("200 OK", body.bytes);
	free(body.bytes);
}

static void stream_build(void)
{
	static const char role[] = EVENT_OPEN "{\"index\":0,\"delta\":{\"role\":\"assistant\","
					      "\"content\":\"\",\"refusal\":null}" CHOICE_END;
	static const char content[] = EVENT_OPEN "{\"index\":0,\"delta\":{" STAMP_MARK
						 "0000000000000000000 word\"}" CHOICE_END;
	size_t at;

	grow_text(&answer_begin, STREAM_HEAD);
	grow_chunk(&answer_begin, role);
	grow_chunk(&answer_event, content);
	event_stamp_at = stamp_find(&answer_event, 0);

	grow(&answer_burst, answer_begin.bytes, answer_begin.len);
	at = answer_burst.len;
	for (int i = 0; i < BURST_EVENTS; i++)
		grow(&answer_burst, answer_event.bytes, answer_event.len);
	for (int i = 0; i < BURST_EVENTS; i++)
		at = burst_stamp_at[i] = stamp_find(&answer_burst, at);
	grow_chunk(&answer_burst, EVENT_OPEN
		"{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
	grow_chunk(&answer_burst, EVENT_OPEN "]," USAGE "}\n\n");
	grow_chunk(&answer_burst, "data: [DONE]\n\n");
	grow_text(&answer_burst, "0\r\n\r\n");
}

void answers_build(void)
{
	plain_build();
	stream_build();
	answer_unknown = answer_json("404 Not Found",
		"{\"error\":{\"message\":\"no such path\",\"type\":\"invalid_request_error\"}}\n");
}

void answer_event_stamp(uint64_t ns)
{
	stamp_write(answer_event.bytes + event_stamp_at, ns);
}

void answer_burst_stamp(uint64_t ns)
{
	for (int i = 0; i < BURST_EVENTS; i++)
		stamp_write(answer_burst.bytes + burst_stamp_at[i], ns);
}
