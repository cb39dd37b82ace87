/*
 * control: the simulator's own end points, neither counted nor logged.
 *
 * - PUT /__script: merges the body into the script (script.h); 400 and no change if it is wrong.
 *   GET shows the script. DELETE forgets the script and the counters per model.
 * - GET /__calls?since=N: log lines with n > N as a JSON array. DELETE forgets the lines kept.
 * - GET /__stats: counters. DELETE sets to 0 those that are no states (open, active).
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "call.h"

void control_answer(struct call *c, struct span path, const char *query);

#endif
