// Package demo does the platform's main job from end to end, through the public interfaces
// of a node that it starts, kills and starts again, and proves that nothing was lost.
//
// It is written as a user would write it: the AWS APIs with a signing client, the Kong
// Admin API and the gateway with HTTP, and SQL with a PostgreSQL driver. Nothing of the
// node's inside is imported but the clients that the fronts' models generate.
package demo
