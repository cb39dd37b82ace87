/* server: listening sockets and signals of the simulator. Loop thread only. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include "sim.h"

/* Opens what the options name, prints the `ready` line and serves until SIGTERM or SIGINT. 0, or 1
 * with a message on stderr. */
int server_run(struct sim *sim);

#endif
