/*
 * control: the simulator's own end points, neither counted nor logged.
 *
 *   PUT /__script   merges the body into the script (script.h); 400 and no change if it is wrong; answers as GET
 *   GET /__script   the script            DELETE /__script   forgets the script and the counters per model
 *   GET /__calls?since=N   log lines with n > N as a JSON array    DELETE /__calls   forgets the lines kept in memory
 *   GET /__stats    counters              DELETE /__stats    sets to 0 those that are not states (open, active)
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "call.h"

void control_answer(struct call *c, struct span path, const char *query);

#endif
