/* A pool whose provider is this process: a listener that the test answers for, byte by byte, and
 * look-ups of names that it decides. */
#ifndef TEST_UPSTREAM_FIXTURE_H
#define TEST_UPSTREAM_FIXTURE_H

#include "../net/wire.h"

#include "upstream/attempt.h"

#include <netdb.h>
#include <netinet/in.h>
#include <semaphore.h>

#define MS         USEC_PER_MS
#define MAX_CONNS  80
#define CONNECT_US (5 * USEC_PER_S)
#define FIRST_US   (20 * USEC_PER_S)
#define IDLE_US    (10 * USEC_PER_S)

/* The process's getaddrinfo(): what it answers next. */
struct names {
	int error;               /* 0, EAI_NONAME, ... */
	const char *address[12]; /* in the order of the answer */
	unsigned n;
	bool blocks; /* until names_release() */
	_Atomic unsigned asked;
	sem_t released;
};
extern struct names names;
void names_are(int error, unsigned n, const char *const *address);
void names_release(void);

struct provider {
	struct loop *loop;
	struct stream_listener listener;
	struct sockaddr_in addr;
	struct end conns[MAX_CONNS];
	unsigned n; /* accepted so far */
};

struct world {
	struct loop loop;
	struct deadline hour;
	struct stats *stats;
	struct provider provider;
	struct pool *pool;
};

/* base_url: "http://HOST" with the provider's port put behind. */
struct world *world_open(const char *scheme_and_host, struct tls_trust *trust);
void world_close(struct world *w);
struct pool *world_pool(struct world *w, const char *scheme_and_host, struct tls_trust *trust);
int64_t counted(struct world *w, enum stat_counter c);

/* Attempts whose events are written down. */
struct call {
	struct attempt a;
	struct world *w;
	struct slice send[ATTEMPT_MAX_SLICES];
	unsigned n_send, asked_bytes;
	unsigned heads, bodies, lasts, pauses, fails, status;
	enum attempt_failure why;
	struct buf content;
	bool in_start, abort_in_head, abort_in_body, pause_in_body;
	bool over; /* no event may come any more */
};

#define REQUEST "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
#define ANSWER  "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

struct call *call_new(struct world *w);   /* asks REQUEST */
struct call *call_start(struct world *w); /* new and started */
void call_begin(struct call *c);
void call_free(struct call *c); /* aborts it */
bool call_over(const struct call *c);

/* The provider's side: connection number i exists and has got so much. */
struct end *served(struct world *w, unsigned i, size_t got_n);
void answer(struct world *w, unsigned i, const char *text);
/* One call on connection i, up to its end. */
void complete(struct world *w, unsigned i);
void turns(struct world *w, int n);

/* Runs until the call has failed, as this. */
struct call *failed_as(struct world *w, struct call *c, enum attempt_failure why);
/* So many connections there are, and so many of them idle; the counters say the same. */
void check_idle(struct world *w, unsigned idle, unsigned conns);

#define PLAIN "http://127.0.0.1"

#endif
