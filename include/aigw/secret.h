/* Bytes that must never be printed: wiped when freed, compared in constant time, kept out of core
 * dumps. There is on purpose no function that formats one. One owner. */
#ifndef AIGW_SECRET_H
#define AIGW_SECRET_H

#include <aigw/slice.h>

struct secret {
	char *p;
	size_t n;
};

int secret_set(struct secret *s, struct slice bytes); /* copies; wipes what was there */
void secret_fini(struct secret *s);
void secret_move(struct secret *to, struct secret *from); /* from is empty after */
/* Choke point: only where bytes leave for a provider or store. */
struct slice secret_expose(const struct secret *s);
bool secret_eq(struct slice a, struct slice b); /* constant time for equal lengths */
void secret_wipe(void *p, size_t n);

/* Reads a secret from a file (`-`: stdin): at most 8 KiB, one trailing newline removed, not empty,
 * no control bytes. 0 or negative with a sentence. */
struct errbuf;
int secret_read_file(struct secret *s, const char *path, struct errbuf *e);

#endif
