/* msgpack for the files of libshared/data: written into a buf, read only after the structure was
 * walked byte by byte (five bytes can make msgpack-c ask for gigabytes). Private to libshared/data;
 * pure, any thread. */
#ifndef AIGW_DATA_MP_H
#define AIGW_DATA_MP_H

#include <aigw/buf.h>
#include <aigw/errbuf.h>
#include <msgpack.h>

#define MP_MAX_DEPTH 32 /* nested arrays and maps; msgpack-c's own stack ends there too */

/* Writes go to the end of b; a failed one sticks in b->err, so one look at the end is enough. */
void mp_writer(msgpack_packer *pk, struct buf *b);
void mp_put_str(msgpack_packer *pk, struct slice s);
void mp_put_bin(msgpack_packer *pk, struct slice s);

/* Exactly one object, every length covered by the bytes left, at most `depth` nested containers and
 * `items` objects in all. -EBADMSG with a sentence. */
int mp_check(struct slice bytes, unsigned depth, uint32_t items, struct errbuf *e);

/* Builds what mp_check let through. Texts point into bytes. On success the caller runs
 * msgpack_unpacked_destroy(u). -EBADMSG, -ENOMEM. */
int mp_build(struct slice bytes, msgpack_unpacked *u, struct errbuf *e);

/* Both. */
int mp_read(
	struct slice bytes, unsigned depth, uint32_t items, msgpack_unpacked *u, struct errbuf *e);

/* The bytes of a str or bin; false for anything else. */
bool mp_is_str(const msgpack_object *o, struct slice *ret);
bool mp_is_bin(const msgpack_object *o, struct slice *ret);
bool mp_is_u64(const msgpack_object *o, uint64_t *ret);
bool mp_is_i64(const msgpack_object *o, int64_t *ret);

#endif
