#include <aigw/mailbox.h>

/* False: there was none. */
static bool deliver(struct mailbox *b)
{
	struct mail *m;
	bool any;

	pthread_mutex_lock(&b->lock);
	m = b->first;
	b->first = b->last = NULL;
	pthread_mutex_unlock(&b->lock);
	any = m != NULL;
	while (m) {
		struct mail *next = m->next; /* the handler owns m */

		m->handle(m, b->loop->owner);
		m = next;
	}
	return any;
}

static void on_bell(uv_async_t *a)
{
	(void)deliver(container_of(a, struct mailbox, bell));
}

int mailbox_init(struct mailbox *b, struct loop *l)
{
	b->first = b->last = NULL;
	b->loop = l;
	if (pthread_mutex_init(&b->lock, NULL))
		return -ENOMEM;
	return uv_async_init(&l->uv, &b->bell, on_bell);
}

void mailbox_post(struct mailbox *b, struct mail *m)
{
	m->next = NULL;
	pthread_mutex_lock(&b->lock);
	if (b->last)
		b->last->next = m;
	else
		b->first = m;
	b->last = m;
	pthread_mutex_unlock(&b->lock);
	(void)uv_async_send(&b->bell);
}

void mailbox_close(struct mailbox *b)
{
	while (deliver(b)) /* nothing that was posted is lost, nor what its handlers post */
		;
	uv_close((uv_handle_t *)&b->bell, NULL);
}
