/* How a provider is asked to go on from the beginning of an answer, the last message. */
#ifndef AIGW_PREFILL_H
#define AIGW_PREFILL_H

enum policy_prefill {
	PREFILL_none,    /* it can't: it would answer anew */
	PREFILL_message, /* nothing has to be said */
	PREFILL_prefix,  /* "prefix": true in the message */
	PREFILL_partial, /* "partial": true in it */
	PREFILL_continue_final_message
};

#endif
