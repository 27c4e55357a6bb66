// Package aiproxy is the plugins that call language models: ai-proxy, whose answers are a
// model's; ai-request-transformer and ai-response-transformer, which have a model make a
// body of the client's or of the upstream's.
//
// Words: a model is a provider's service under an address, with its credential and options;
// a chat is a list of messages, a completion continues a prompt. A dialect is the form of a
// provider's API. A talk is one request with what is known of its answer; an event is a
// piece of a streamed answer, and a source takes a stream apart into events. A note is what
// logs are told of a call.
//
// How it works: clients speak OpenAI's form. The dialect of the provider makes its request
// of theirs, and OpenAI's form of its answer: at once, or event by event, whatever the
// stream is on the wire (server-sent events, lines or an array of JSON, AWS's event stream).
// What speaks OpenAI's form anyway is passed on as it came.
//
// Invariants: options of the configuration replace those of the client; the client cannot
// choose another model than the configured one. Of the client's header and query nothing
// goes to the model but, where allow_override is on, the credential. Bodies and events are
// bounded. A stream that the provider breaks off is broken off for the client too. What is
// wrong with a request is told as {"error":{"message":…}}; what is wrong with a call is in
// the log. What was said is in the log only where that is configured.
package aiproxy
