/* Messages to another loop's thread: a mutex-guarded queue (the hand-over) and a uv_async (the
 * bell). The mutex guards only the queue's two pointers. Post from any thread; handlers run on the
 * loop's. */
#ifndef AIGW_MAILBOX_H
#define AIGW_MAILBOX_H

#include <aigw/loop.h>
#include <pthread.h>

struct mail {
	struct mail *next;
	void (*handle)(struct mail *m, void *owner); /* owns m from now on */
};

struct mailbox {
	pthread_mutex_t lock; /* guards first, last */
	struct mail *first, *last;
	uv_async_t bell;
	struct loop *loop;
};

int mailbox_init(struct mailbox *b, struct loop *l);
void mailbox_post(struct mailbox *b, struct mail *m); /* any thread; never fails */
void mailbox_close(struct mailbox *b); /* loop thread; then loop_fini() runs the close */

#endif
