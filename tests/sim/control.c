#include "control.h"
#include "calllog.h"
#include "conn.h"

#include <stdlib.h>
#include <string.h>

static void stats_show(const struct sim *sim, struct buf *out)
{
	const struct sim_stats *s = &sim->stats;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
#define ROW(m) { #m, s->m }
		ROW(requests),
		ROW(streams),
		ROW(completed),
		ROW(client_gone),
		ROW(faults),
		ROW(refused),
		ROW(chunks),
		ROW(bytes_in),
		ROW(bytes_out),
		ROW(connections_accepted),
		ROW(connections_open),
		ROW(requests_reused),
		ROW(dropped_on_next),
		ROW(calls_active),
		ROW(streams_active),
		ROW(streams_active_max),
		ROW(tls_handshakes),
		ROW(tls_resumed),
#undef ROW
		{ "log_lines", sim->log.n },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		buf_addf(out, "%s\"%s\":%llu", i ? "," : "{", rows[i].name,
			(unsigned long long)rows[i].value);
	buf_adds(out, "}\n");
}

static void stats_clear(struct sim *sim)
{
	struct sim_stats old = sim->stats;

	sim->stats = (struct sim_stats){
		.connections_open = old.connections_open,
		.calls_active = old.calls_active,
		.streams_active = old.streams_active,
		.streams_active_max = old.streams_active,
	};
}

static uint64_t since_of(const char *query, const struct request *r)
{
	size_t n = query ? r->url.len - (size_t)(query - r->url.p) : 0;
	char text[32] = { 0 };

	if (n <= 6 || n - 6 >= sizeof(text) || memcmp(query, "since=", 6))
		return 0;
	memcpy(text, query + 6, n - 6);
	return strtoull(text, NULL, 10);
}

void control_answer(struct call *c, struct span path, const char *query)
{
	struct sim *sim = c->conn->sim;
	const struct request *r = &c->conn->req;
	const char *method = request_method(r), *why = NULL;
	bool get = !strcmp(method, "GET"), delete = !strcmp(method, "DELETE"),
	     put = !strcmp(method, "PUT");

	if (span_is(path, "/__stats") && (get || delete)) {
		if (delete)
			stats_clear(sim);
		stats_show(sim, &c->body);
	} else if (span_is(path, "/__calls") && (get || delete)) {
		if (delete)
			calllog_clear(&sim->log);
		calllog_show(&sim->log, since_of(query, r), &c->body);
	} else if (span_is(path, "/__script") && (get || delete || put)) {
		if (delete)
			script_clear(sim->script);
		if (put)
			why = script_put(sim->script, (struct span){ r->body.p, r->body.len });
		script_show(sim->script, &c->body);
	} else {
		call_error(c, 404, "No such control end point.", NULL, "sim_control");
		return;
	}
	if (why)
		call_error(c, 400, why, NULL, "sim_script");
	else
		call_plain(c, 200, "application/json");
}
