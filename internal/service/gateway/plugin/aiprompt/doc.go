// Package aiprompt is the plugins ai-prompt-decorator and ai-prompt-guard,
// which frame and check the prompts of requests to language models, in this order.
//
// Words: a chat has messages, each with a role and a content; a completion has a prompt.
// Errors have the form {"error":{"message":…}}.
package aiprompt
