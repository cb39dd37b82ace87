/* Bounds of a frame that sender and receiver keep. Private to libshared/data. */
#ifndef AIGW_DATA_WIRE_LIMITS_H
#define AIGW_DATA_WIRE_LIMITS_H

#define WIRE_LENGTH_BYTES 4
#define WIRE_MAX_DEPTH    16
#define WIRE_MAX_ITEMS    65536 /* msgpack objects of a frame, all levels together */
#define WIRE_MAX_LIST                                                                              \
	65000 /* of one message's lists together: the rest is for its other members                \
	       */

#endif
