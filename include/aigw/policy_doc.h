/* The policy as validated data: what apply, the controller and the agent agree on. Built from a
 * tree (policy file or wire), everything in one arena, cross-references resolved to indexes,
 * immutable after build. Any thread. */
#ifndef AIGW_POLICY_DOC_H
#define AIGW_POLICY_DOC_H

#include <aigw/capability.h>
#include <aigw/prefill.h>
#include <aigw/error_class.h>
#include <aigw/price.h>
#include <aigw/tree.h>
#include <aigw/url.h>

#define POLICY_NAME_MAX       63 /* bytes: customers, projects, providers */
#define POLICY_MODEL_NAME_MAX 127

enum policy_provider_type { PROVIDER_openai, PROVIDER_openai_compatible };

/* When a provider's target is left alone for a while, and for how long. */
struct policy_health {
	uint32_t open_after; /* failures in a row */
	usec half_open_us;   /* until one call may try it again */
	/* Results within HEALTH_WINDOW_US of which half may fail; 0: off. */
	uint32_t min_samples;
	uint32_t max_ejected; /* percent of a priority's targets that open circuits leave out */
	struct slice probe;   /* POLICY_PROBE_MODELS, or a path of the server; empty: none */
	usec probe_every_us;
};
#define POLICY_PROBE_MODELS   "models"
#define POLICY_PROBE_PATH_MAX 255

/* A provider's own code, type or status, over the built-in tables. */
struct policy_error {
	struct slice code;
	enum error_class class;
};
#define POLICY_ERRORS_MAX      64 /* of one provider */
#define POLICY_CREDENTIALS_MAX 16 /* of one provider */

struct policy_provider {
	struct slice name;
	enum policy_provider_type type;
	struct slice base_url;
	struct url url;            /* of base_url */
	uint32_t n_credentials;    /* 0: none is sent */
	struct slice *credentials; /* names of secrets, used in turn; of doc->credentials */
	usec connect_us, first_byte_us, idle_us, total_us;
	struct policy_health health;
	uint32_t n_errors;
	struct policy_error *errors;
	bool stream_usage;    /* may be asked for usage in streams */
	uint32_t concurrency; /* calls at once; 0: any number */
	enum policy_prefill prefill;
	bool prefill_told;    /* else it is taken for granted */
	struct slice ca_file; /* absolute path on the agent's host; empty: system's bundle */
};

struct policy_price {
	struct slice provider;
	struct slice model; /* provider's name, or "*": any model of the provider that has no row of
			       its own */
	int64_t from_day;   /* days since 1970-01-01 UTC; the latest not in the future wins */
	struct price price;
};

#define POLICY_TARGETS_MAX        16                  /* of one model */
#define POLICY_TAGS_MAX           63                  /* of one policy */
#define POLICY_TAG_UNKNOWN        (UINT64_C(1) << 63) /* that no target carries */
#define POLICY_STICKY_HEADERS_MAX 4                   /* of one policy */

struct policy_target {
	uint32_t provider;  /* index into providers */
	struct slice model; /* the provider's name */
	uint32_t priority;  /* 1 before 2 */
	uint32_t weight;    /* share within its priority; 0: gets no call */
	usec connect_us, first_byte_us, idle_us, total_us; /* its own, else the provider's */
	uint32_t capabilities;                             /* bits of enum capability */
	uint64_t tags;                                     /* bits, by place in doc->tags */
	int64_t context_window, max_output;                /* tokens; 0: not known */
	uint32_t max_ejected;                              /* its provider's */
};

enum policy_strategy {
	STRATEGY_weighted,
	STRATEGY_priority,
	STRATEGY_cheapest,
	STRATEGY_fastest,
	STRATEGY_least_busy,
	STRATEGY_headroom
};
enum policy_sticky { STICKY_request, STICKY_key, STICKY_user, STICKY_header, STICKY_cache_key };

enum {
	POLICY_ON_timeout = 1,
	POLICY_ON_connect = 2,  /* no connection: look-up, TLS, the proxy too */
	POLICY_ON_reset = 4,    /* it broke off */
	POLICY_ON_malformed = 8 /* an answer that is none */
};

struct policy_retry {
	uint32_t attempts;    /* at providers, per call */
	usec backoff_us;      /* before the second try at one target; doubles, with jitter */
	uint32_t budget_pct;  /* retries per hundred calls */
	bool picks;           /* which transient failures and rate limits: */
	uint8_t on;           /* POLICY_ON_ bits */
	uint64_t statuses[4]; /* a bit for each from 400 on */
};

struct policy_model {
	struct slice name;
	uint32_t n_aliases;
	struct slice *aliases;
	uint32_t n_targets;
	struct policy_target *targets; /* of doc->targets, in file order; at least one */
	enum policy_strategy strategy; /* among targets of one priority */
	enum policy_sticky sticky;
	uint32_t sticky_header;               /* STICKY_header: place in doc->sticky_headers */
	uint64_t require_tags;                /* as a target's tags */
	uint32_t capabilities;                /* of targets that list none */
	int64_t max_output;                   /* likewise */
	bool lists_capabilities, has_windows; /* some target of it */
	bool keeps_some;                      /* some target's max_ejected is less than all */
	bool try_best; /* with every target out, the one that is back soonest is tried all the same
			*/
	bool skip_malformed; /* events that are no JSON are left out, and counted */
	bool continue_cut;   /* a stream that breaks off goes on at another target */
	bool early_head;     /* of a stream: before there is content */
	usec keepalive_us;   /* silence of a stream before a comment; 0: none */
	uint32_t queue_max;  /* calls that may wait for a target; 0: none */
	usec queue_wait_us;
	struct policy_retry retry;
};

struct policy_project {
	struct slice name; /* unique over all customers */
	uint32_t customer;
	bool all_models; /* list omitted or "*" */
	uint32_t n_models;
	uint32_t *models;      /* indexes; [] means none */
	uint64_t require_tags; /* its customer's too */
	uint32_t concurrency;  /* calls at once; 0: any number */
};

struct policy_customer {
	struct slice name;
	uint64_t require_tags;
};

enum policy_identity_kind { IDENTITY_uid, IDENTITY_user, IDENTITY_group, IDENTITY_unit };

struct policy_identity {
	enum policy_identity_kind kind;
	struct slice value; /* user, group or unit name */
	uint32_t uid;       /* IDENTITY_uid */
	uint32_t project;
	uint32_t concurrency; /* calls at once of all that it matches; 0: any number */
};

enum policy_cost { COST_HEADERS_OFF, COST_HEADERS_PLAIN, COST_HEADERS_STREAM };

struct policy_doc {
	struct arena arena;
	struct slice currency; /* "USD" */
	int default_model;     /* index of the model for a request that names none; -1: none */
	bool debug_headers;    /* answers say which revision and which agent */
	unsigned cost_headers; /* enum policy_cost: answers say what they cost, and their tokens */
	uint32_t n_providers, n_prices, n_models, n_targets, n_customers, n_projects, n_identities,
		n_credentials, n_features, n_tags, n_sticky_headers;
	struct policy_provider *providers;
	struct slice *credentials; /* of all providers, one behind the other */
	struct policy_price *prices;
	struct policy_model *models;
	struct policy_target *targets; /* of all models, one behind the other */
	struct policy_customer *customers;
	struct policy_project *projects;
	struct policy_identity *identities; /* in file order: the first match counts */
	struct slice tags[POLICY_TAGS_MAX];
	struct slice sticky_headers[POLICY_STICKY_HEADERS_MAX];
	struct slice *features; /* sorted names of abilities that an agent must have to run this:
				   "core/1", … */
	uint8_t digest[32];     /* SHA-256 of the canonical packed tree */
	struct buf packed;      /* that tree, for the wire and caches */
};

/* Features of this build, sorted; the last is NULL. */
extern const char *const policy_features[];

/* Merges several files (their trees' roots) and validates. All findings are added to `report` as
 * lines "file:line:col: sentence", at most 50; warnings begin with "warning: " after the place.
 * `names`: file names by index. 0, or -EINVAL if there was at least one error. Free with
 * policy_doc_free. */
int policy_doc_build(const struct tree *const *roots, const char *const *names, unsigned n,
	struct policy_doc **ret, struct buf *report);
/* From the packed form (wire, cache): validated anew; a feature unknown to this build is -ENOTSUP
 * with its name in e. */
int policy_doc_unpack(struct slice packed, struct policy_doc **ret, struct errbuf *e);
void policy_doc_free(struct policy_doc *d);
/* Reads and builds from files of the disk. */
int policy_doc_from_files(
	const char *const *paths, unsigned n, struct policy_doc **ret, struct buf *report);
/* Price in force for (provider, provider's model) at a wall time; NULL: unpriced. */
const struct policy_price *policy_doc_price(
	const struct policy_doc *d, uint32_t provider, struct slice model, usec wall_us);

#endif
