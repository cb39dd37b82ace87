/*
 * corpus: recorded provider exchanges as answers (--corpus DIR; one JSON file per exchange).
 *
 * A request is answered by the exchange whose id its `model` names; else, by one whose recorded
 * request has the same model, the same operation and the same body bytes. The operation is the
 * path without what providers put before it: asked for /v1/chat/completions, the exchange may have
 * been recorded at /openai/deployments/x/chat/completions. A model that is an id, asked for at
 * another operation, is a 404: the gateway sent it to a wrong place.
 *
 * Streamed bodies go out chunked and cut at random places that --cut-seed, id and contents decide;
 * others with a Content-Length, cut too if --cut-seed is given. Recorded headers are sent as they
 * are, except those of the connection, date and content-encoding. Tokens of the end line are the
 * exchange's `usage`, or 0. Files are read when they are asked for; the second way of selection
 * reads all of them once.
 */
#ifndef SIM_CORPUS_H
#define SIM_CORPUS_H

#include "call.h"

struct corpus;

struct corpus *corpus_open(const char *dir, bool cut_plain); /* NULL with a message on stderr */
void corpus_free(struct corpus *k);
size_t corpus_count(const struct corpus *k);
/* False: not in the corpus, answer otherwise. */
bool corpus_answer(struct corpus *k, struct call *c, struct span path, struct span body);

#endif
