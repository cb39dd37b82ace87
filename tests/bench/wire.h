/* What the benchmark's programs share: addresses, the clock, numbers on the command line, the time
 * stamp inside an event. One thread per program. Nothing of aigw is linked in: a yardstick that
 * shares code with what it measures shares its mistakes. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_US UINT64_C(1000)

#define STAMP_DIGITS 19
/* The content of every event begins with it, followed by STAMP_DIGITS digits. */
#define STAMP_MARK "\"content\":\"@"

struct endpoint {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* CLOCK_MONOTONIC: the upstream stamps events with it and the load generator reads them, so both
 * must run on one host. */
uint64_t clock_ns(void);

/* "127.0.0.1:PORT" (any loopback address) or "unix:PATH". -EINVAL for anything else: the benchmark
 * must not be able to load somebody else's machine. */
int endpoint_parse(const char *text, struct endpoint *ret);

/* Listens on 127.0.0.1:PORT; returns a descriptor or -errno. */
int endpoint_listen(uint16_t port);

/* Connects (blocking: on loopback that is at once) with TCP_NODELAY; a descriptor or -errno. */
int endpoint_connect(const struct endpoint *to);

/* A decimal number from min to max, or -EINVAL. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* As many descriptors as this process may have. */
void files_raise(void);

/* Writes and reads the STAMP_DIGITS digits of an event's time. */
void stamp_write(char *at, uint64_t ns);
uint64_t stamp_read(const char *at);

/* Says what failed with errno's text and exits 1. */
_Noreturn void die(const char *what);

#endif
