/*
 * script: what the simulator is told to do with a request, and in which order its tellers count.
 *
 * - model name: NAME+BEHAVIOUR+BEHAVIOUR, as "sim-x+tokens-60+pace-2000" or "fail-429-anything".
 *   Only the first part may be unknown (then it is a plain name), and only it may go on after a
 *   '-' behind a behaviour.
 * - PUT /__script: {"MODEL": BEHAVIOURS, ...}; MODEL "*" holds for every name without an entry of
 *   its own. BEHAVIOURS is the text above without NAME, or an object {"tokens": 60, "no-usage":
 *   true}, or an array of those: the first is for the first request, and so on, the last for all
 *   others; null removes the entry.
 * - body member "sim": text or object. It wins over the script, which wins over the name.
 *
 * Requests are counted per whole model name (flaky-N, times-N); DELETE /__script forgets these
 * counters too.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "behaviour.h"

struct script;

/* What holds where nothing else is said: pace-N, and chunk-split if `cut`. */
struct script *script_new(int64_t pace_us, bool cut);
void script_free(struct script *s);

/* The behaviour for the next request to this model. `sim` is the raw JSON of the body's member, or
 * empty. NULL, or what is wrong (a static buffer, until the next call). */
const char *script_pick(
	struct script *s, const char *model, struct span sim, struct behaviour *ret);
/* PUT /__script; NULL or what is wrong, and then nothing was changed. */
const char *script_put(struct script *s, struct span json);
void script_show(const struct script *s, struct buf *out);
void script_clear(struct script *s);

#endif
