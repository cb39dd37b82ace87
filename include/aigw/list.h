/* Intrusive doubly linked list with a head; a node knows whether it is linked. One thread at a
 * time. */
#ifndef AIGW_LIST_H
#define AIGW_LIST_H

#include <aigw/base.h>

struct list {
	struct list *next;
	struct list *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_after(struct list *at, struct list *node)
{
	node->next = at->next;
	node->prev = at;
	at->next->prev = node;
	at->next = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert_after(head, node);
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert_after(head->prev, node);
}

static inline void list_remove(struct list *node)
{
	node->next->prev = node->prev;
	node->prev->next = node->next;
	list_init(node);
}

#define list_entry(node, type, member) container_of(node, type, member)
/* Safe against removal of `it`. */
#define list_each(it, tmp, head)                                                                   \
	for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head);                              \
		(it) = (tmp), (tmp) = (it)->next)

#endif
