/* A controller made of one socket and no thread: the test's own loop turns while it waits for
 * frames. */
#ifndef TESTS_UNIT_ACCOUNT_FAKE_CTLD_H
#define TESTS_UNIT_ACCOUNT_FAKE_CTLD_H

#include <aigw/loop.h>
#include <aigw/wire.h>

struct fake_ctld {
	struct loop *loop;
	char path[108];
	int listener, fd;
	struct buf in;
	struct arena arena; /* of the last message */
	char *payload;      /* of the last message */
};

void fake_ctld_init(struct fake_ctld *f, struct loop *l, const char *dir);
void fake_ctld_fini(struct fake_ctld *f);
void fake_ctld_listen(struct fake_ctld *f);

/* Turns the loop until `done` says so; fails the test after 30 s. */
void fake_turn(struct loop *l, int fd, bool (*done)(void *arg), void *arg);

void fake_accept(struct fake_ctld *f); /* the agent's next connection */
void fake_hang_up(struct fake_ctld *f);
void fake_expect_eof(struct fake_ctld *f); /* the agent hangs up; frames before it are skipped */
bool fake_is_quiet(struct fake_ctld *f);   /* nothing but status came for some turns of the wheel */

/* The next frame, which has to be of this kind (others that only report are skipped). Valid until
 * the next one. */
void fake_expect(struct fake_ctld *f, enum wire_kind kind, struct wire_message *ret);
void fake_send(struct fake_ctld *f, const struct wire_message *m);
void fake_send_bytes(struct fake_ctld *f, const void *p, size_t n);

#endif
