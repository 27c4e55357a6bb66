// Package standardwebhooks is the plugin standard-webhooks: it lets webhooks pass only where
// they are signed as standardwebhooks.com says, by HMAC with SHA-256 over id, time and body,
// and not too long ago. Everything else is answered with 400.
package standardwebhooks
