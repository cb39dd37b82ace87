/*
 * sim: the simulator's whole state: options, counters, and the parts that every connection shares.
 * One per process, one thread.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "calllog.h"
#include "script.h"
#include "timer.h"

#include <openssl/ssl.h>
#include <uv.h>

struct conn;
struct corpus;

struct sim_opts {
	const char *listen, *unix_path, *tls_listen;
	const char *log_path, *record_dir, *corpus_dir, *require_key;
	int64_t pace_us;
	uint64_t cut_seed;
	bool cut; /* --cut-seed was given: cut all answers, with a Content-Length too */
	bool log_headers;
};

/* Every member is one number of GET /__stats, by its name. */
struct sim_stats {
	uint64_t requests, streams, completed, client_gone, faults, refused;
	uint64_t chunks, bytes_in, bytes_out;
	uint64_t connections_accepted, connections_open, requests_reused, dropped_on_next;
	uint64_t calls_active, streams_active, streams_active_max;
	uint64_t tls_handshakes, tls_resumed;
};

struct sim {
	struct sim_opts opts;
	struct sim_stats stats;
	uv_loop_t loop;
	struct timers timers;
	struct script *script;
	struct calllog log;
	struct corpus *corpus; /* NULL without --corpus */
	SSL_CTX *tls;
	struct conn *conns;
	uint64_t seq, conn_seq;
	uint32_t boot; /* random; makes request ids unique over restarts */
};

#endif
