// Package aiproxy is the plugins that call language models: ai-proxy, whose answers are a
// model's; ai-request-transformer and ai-response-transformer, which have a model make a
// body of the client's or of the upstream's.
//
// Words: a model is a provider's service under a URL, with its credential and options; a
// chat is a list of messages, a completion continues a prompt.
//
// Invariants: a request and an answer have the form of OpenAI's API. Options of the
// configuration replace those of the client; the client cannot choose another model than
// the configured one. Of the client's header and query nothing goes to the model but, where
// allow_override is on, the credential. Bodies are bounded. What is wrong with a request is
// told as {"error":{"message":…}}; what is wrong with a call is in the log.
//
// It does not speak to providers with an API of their own; they are refused by name.
package aiproxy
