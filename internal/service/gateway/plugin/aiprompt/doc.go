// Package aiprompt is the plugins ai-prompt-template, ai-prompt-decorator and
// ai-prompt-guard, which write, frame and check the prompts of requests to language models,
// in this order.
//
// Words: a chat has messages, each with a role and a content; a completion has a prompt; a
// template is the body of a request with variables, which the client names.
// Errors have the form {"error":{"message":…}}.
package aiprompt
