/* What a provider's error means for the call, the target and the credential. No include guard: define ERROR_CLASS before including.
 * ERROR_CLASS(name, doc): order of enum error_class; new rows at the end. */
ERROR_CLASS(none,          "No error.")
ERROR_CLASS(transient,     "Another try may go well: 408, 409, 5xx, no connection, a timeout, a broken answer. Counts against the target; the next one is tried.")
ERROR_CLASS(rate_limited,  "429, 529: the target, or the credential there if there are several, is left alone as long as the provider says; another credential or the next target is tried.")
ERROR_CLASS(provider_auth, "401, 403, a 400 that says so: the gateway's credential is refused, and left alone for half a minute, until one call tries it, or until its secret is set anew; another credential or the next target is tried.")
ERROR_CLASS(provider_quota, "The gateway's account at the provider is empty. The credential is left alone for half an hour, until one call tries it, or until its secret is set anew; another credential or the next target is tried.")
ERROR_CLASS(context_length, "The prompt is too long for this model: a target with a larger window, or of another model, is tried.")
ERROR_CLASS(unsupported_operation, "The provider has no such endpoint or model: 404, 405. The next target is tried.")
ERROR_CLASS(caller_fault,  "What any target would refuse: other 4xx, a content filter. Returned at once.")
